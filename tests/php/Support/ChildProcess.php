<?php

/**
 * A background child process: wait for a line of its output, send it signals, inspect its exit.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Support;

use PHPUnit\Framework\Assert;
use RuntimeException;

final class ChildProcess
{
    /** @var resource */
    private $process;
    /** @var array<int, resource> */
    private array $pipes;
    private string $stdout = '';
    private string $stderr = '';
    private float $started;
    private ?ProcessResult $result = null;
    private int $pid;

    /**
     * @param list<string> $command program and arguments; no shell in between
     * @param array<string, string> $env the whole environment of the child
     */
    public function __construct(array $command, array $env, ?string $cwd = null, string $stdin = '')
    {
        $this->started = microtime(true);
        $process = proc_open($command, [['pipe', 'r'], ['pipe', 'w'], ['pipe', 'w']], $pipes, $cwd, $env);
        if ($process === false) {
            throw new RuntimeException('Cannot start ' . implode(' ', $command));
        }
        $this->process = $process;
        $this->pipes = $pipes;
        $this->pid = proc_get_status($process)['pid'];
        stream_set_blocking($pipes[1], false);
        stream_set_blocking($pipes[2], false);
        if ($stdin !== '') {
            fwrite($pipes[0], $stdin);
        }
        fclose($pipes[0]);
    }

    public function pid(): int
    {
        return $this->pid;
    }

    /**
     * Waits until the output so far matches (stdout and stderr separately, either may match), and returns the matches.
     *
     * @return array<int|string, string>
     */
    public function waitForOutput(string $regex, float $seconds = 15.0): array
    {
        $deadline = microtime(true) + $seconds;
        while (true) {
            $running = $this->pump(0.05);
            if (preg_match($regex, $this->stdout, $matches) || preg_match($regex, $this->stderr, $matches)) {
                return $matches;
            }
            if (!$running || microtime(true) > $deadline) {
                Assert::fail(sprintf(
                    "%s without printing %s\n--- stdout\n%s\n--- stderr\n%s",
                    $running ? "It ran for $seconds s" : 'It ended',
                    $regex,
                    $this->stdout,
                    $this->stderr
                ));
            }
        }
    }

    /**
     * Sends a signal, SIGTERM (15) by default.
     */
    public function signal(int $signal = 15): self
    {
        if ($this->isRunning()) {
            proc_terminate($this->process, $signal);
        }

        return $this;
    }

    public function isRunning(): bool
    {
        return $this->pump(0.0);
    }

    /**
     * The standard output so far.
     */
    public function stdout(): string
    {
        $this->pump(0.0);

        return $this->stdout;
    }

    /**
     * The standard error so far.
     */
    public function stderr(): string
    {
        $this->pump(0.0);

        return $this->stderr;
    }

    /**
     * Waits for the exit; a child that takes longer is killed, and its result says so.
     */
    public function wait(float $seconds = 20.0): ProcessResult
    {
        $deadline = microtime(true) + $seconds;
        while ($this->pump(0.05)) {
            if (microtime(true) > $deadline) {
                return $this->end(true);
            }
        }

        return $this->result ?? throw new RuntimeException('A child that has ended has no result.');
    }

    /**
     * True if it still runs after this time; false as soon as it exits. For signals and conditions that must not end it.
     */
    public function keepsRunning(float $seconds): bool
    {
        $deadline = microtime(true) + $seconds;
        while ($this->pump(0.05)) {
            if (microtime(true) > $deadline) {
                return true;
            }
        }

        return false;
    }

    /**
     * Kills it if it still runs; for the end of a test.
     */
    public function destroy(): void
    {
        if ($this->result === null) {
            $this->end(true);
        }
    }

    /** Reads available output, waiting at most this long; false once the child has exited. */
    private function pump(float $seconds): bool
    {
        if ($this->result !== null) {
            return false;
        }
        // Before reading: output printed before the exit is then certainly in the pipe.
        $status = proc_get_status($this->process);
        $this->read($status['running'] ? $seconds : 0.0);
        if ($status['running']) {
            return true;
        }
        $this->finish($status, false);

        return false;
    }

    private function read(float $seconds): void
    {
        $open = array_filter([$this->pipes[1], $this->pipes[2]], static fn ($pipe) => !feof($pipe));
        if ($open === []) {
            usleep((int) ($seconds * 1_000_000));

            return;
        }
        $write = $except = null;
        // A signal to this process may interrupt the wait, which needs no warning.
        @stream_select($open, $write, $except, 0, (int) ($seconds * 1_000_000));
        $this->stdout .= (string) stream_get_contents($this->pipes[1]);
        $this->stderr .= (string) stream_get_contents($this->pipes[2]);
    }

    private function end(bool $timedOut): ProcessResult
    {
        proc_terminate($this->process, 9);
        for ($i = 0; $i < 200 && ($status = proc_get_status($this->process))['running']; $i++) {
            usleep(10_000);
        }
        $this->read(0.0);

        return $this->finish($status ?? proc_get_status($this->process), $timedOut);
    }

    /** @param array<string, mixed> $status of proc_get_status(), which returns the exit code only once */
    private function finish(array $status, bool $timedOut): ProcessResult
    {
        fclose($this->pipes[1]);
        fclose($this->pipes[2]);
        proc_close($this->process);

        return $this->result = new ProcessResult(
            $this->stdout,
            $this->stderr,
            $status['signaled'] ? null : $status['exitcode'],
            $status['signaled'] ? $status['termsig'] : null,
            $timedOut,
            microtime(true) - $this->started
        );
    }
}
