<?php

/**
 * A PHP process that is measured from outside: its memory, CPU time and output.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Bench;

use RuntimeException;

final class Child
{
    private string $output = '';

    /**
     * @param resource $process
     * @param resource $pipe its output
     */
    private function __construct(private $process, private $pipe, private int $pid)
    {
        stream_set_blocking($pipe, false);
    }

    /**
     * Starts PHP with the extension that this process has.
     *
     * @param list<string> $arguments
     * @param array<string, string> $env over the environment of this process
     */
    public static function php(array $arguments, array $env): self
    {
        $extension = getenv('REALTIME_EXTENSION') ?: dirname(__DIR__, 3) . '/target/release/libtoporia_realtime.so';
        $command = [PHP_BINARY, '-d', "extension=$extension", ...$arguments];
        $process = proc_open($command, [['file', '/dev/null', 'r'], ['pipe', 'w'], ['redirect', 1]], $pipes, null, $env + getenv());
        if (!is_resource($process)) {
            throw new RuntimeException('Cannot start PHP.');
        }

        return new self($process, $pipes[1], proc_get_status($process)['pid']);
    }

    public function __destruct()
    {
        $this->kill();
    }

    /**
     * Waits until its output matches.
     *
     * @return array<int, string> the match
     *
     * @throws RuntimeException it ended, or it took longer than that
     */
    public function waitFor(string $pattern, float $seconds): array
    {
        $deadline = microtime(true) + $seconds;
        while (!preg_match($pattern, $this->output, $match)) {
            if (feof($this->pipe) || microtime(true) > $deadline) {
                throw new RuntimeException("It did not print $pattern, but:\n" . substr($this->output, -2000));
            }
            usleep(5_000);
            $this->output .= (string) stream_get_contents($this->pipe);
        }

        return $match;
    }

    /**
     * The lines of its output that match.
     *
     * @return list<string>
     */
    public function lines(string $pattern): array
    {
        return array_values(preg_grep($pattern, explode("\n", $this->output)) ?: []);
    }

    /**
     * Resident memory in KB.
     */
    public function memory(): int
    {
        preg_match('/^VmRSS:\s+(\d+)/m', (string) @file_get_contents("/proc/$this->pid/status"), $found);

        return (int) ($found[1] ?? 0);
    }

    /**
     * User and system time so far, in seconds.
     */
    public function cpu(): float
    {
        $stat = (string) @file_get_contents("/proc/$this->pid/stat");
        $fields = explode(' ', substr($stat, (int) strrpos($stat, ')') + 2));

        // 100 ticks a second, on every Linux that PHP runs on.
        return ((int) ($fields[11] ?? 0) + (int) ($fields[12] ?? 0)) / 100;
    }

    /**
     * Stops it, and waits.
     */
    public function stop(float $seconds): void
    {
        proc_terminate($this->process);
        $deadline = microtime(true) + $seconds;
        while (proc_get_status($this->process)['running'] && microtime(true) < $deadline) {
            // A full pipe would block it.
            $this->output .= (string) stream_get_contents($this->pipe);
            usleep(5_000);
        }
        $this->kill();
    }

    public function kill(): void
    {
        if (is_resource($this->process)) {
            proc_terminate($this->process, 9);
            fclose($this->pipe);
            proc_close($this->process);
        }
    }
}
