<?php

/**
 * A child process with its output in a file, polled for its exit.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Chaos;

use RuntimeException;

final class Process
{
    /** @var resource */
    private $process;
    public readonly int $pid;
    public readonly float $started;
    private ?int $code = null;
    private ?int $signal = null;

    /**
     * @param list<string> $command program and arguments, no shell in between
     * @param string $log gets what it prints, both streams
     * @param array<string, string> $environment beside this process's own
     */
    public function __construct(array $command, public readonly string $log, array $environment = [])
    {
        $streams = [['file', '/dev/null', 'r'], ['file', $log, 'a'], ['file', $log, 'a']];
        $process = proc_open($command, $streams, $pipes, null, $environment + getenv());
        if ($process === false) {
            throw new RuntimeException('Cannot start: ' . implode(' ', $command));
        }
        $this->process = $process;
        $this->pid = proc_get_status($process)['pid'];
        $this->started = microtime(true);
    }

    /**
     * PHP with the extension under test and none of the machine's other extensions.
     *
     * @return list<string>
     */
    public static function php(string $extension, string $script, string ...$arguments): array
    {
        $ini = ['display_errors=stderr', 'error_reporting=-1', 'log_errors=0', 'memory_limit=64M'];
        $options = ['-n', '-d', "extension=$extension"];
        foreach ($ini as $setting) {
            array_push($options, '-d', $setting);
        }

        return [PHP_BINARY, ...$options, $script, ...array_values($arguments)];
    }

    public function isRunning(): bool
    {
        if ($this->code !== null || $this->signal !== null) {
            return false;
        }
        $status = proc_get_status($this->process);
        if ($status['running']) {
            return true;
        }
        // The exit code is available only once.
        $this->signal = $status['signaled'] ? $status['termsig'] : null;
        $this->code = $status['signaled'] ? null : $status['exitcode'];
        proc_close($this->process);

        return false;
    }

    /** The exit code; null while it runs, and if a signal ended it. */
    public function code(): ?int
    {
        return $this->code;
    }

    /** The signal that ended it, or null. */
    public function endedBy(): ?int
    {
        return $this->signal;
    }

    public function signal(int $signal): void
    {
        if ($this->isRunning()) {
            posix_kill($this->pid, $signal);
        }
    }

    /**
     * Waits for its exit, and kills it after the timeout.
     *
     * @return bool false where it had to be killed
     */
    public function wait(float $seconds): bool
    {
        $deadline = microtime(true) + $seconds;
        while ($this->isRunning()) {
            if (microtime(true) > $deadline) {
                $this->kill();

                return false;
            }
            usleep(20_000);
        }

        return true;
    }

    public function kill(): void
    {
        $this->signal(SIGKILL);
        while ($this->isRunning()) {
            usleep(5000);
        }
    }

    /** The last lines it printed. */
    public function output(int $lines = 12): string
    {
        $all = explode("\n", rtrim((string) @file_get_contents($this->log)));

        return implode("\n", array_slice($all, -$lines));
    }

    /** True if memory_limit ended it; lines of the log may follow that of the fatal error. */
    public function exceededMemory(): bool
    {
        return str_contains((string) @file_get_contents($this->log), 'Allowed memory size');
    }
}
