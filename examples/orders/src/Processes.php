<?php

/**
 * Starts the processes of an example, waits for their output, and stops all of them.
 */

declare(strict_types=1);

namespace Orders;

use RuntimeException;

final class Processes
{
    /** @var array<string, array{process: resource, log: string}> */
    private array $running = [];
    private string $logs;
    /** @var list<string> */
    private array $php;

    /**
     * @param array<string, string> $environment for all of them
     */
    public function __construct(private string $directory, private array $environment)
    {
        $this->logs = sys_get_temp_dir() . '/realtime-example-' . bin2hex(random_bytes(5));
        mkdir($this->logs, 0700);
        $this->php = [PHP_BINARY, ...self::extension()];
    }

    /**
     * Starts a PHP script, and waits until its output matches a pattern.
     *
     * @param list<string> $arguments
     */
    public function start(string $name, string $script, array $arguments = [], ?string $untilPrinted = null): void
    {
        $log = "$this->logs/$name.log";
        $process = proc_open(
            [...$this->php, $script, ...$arguments],
            [['file', '/dev/null', 'r'], ['file', $log, 'w'], ['file', $log, 'a']],
            $pipes,
            $this->directory,
            $this->environment + getenv()
        );
        if ($process === false) {
            throw new RuntimeException("Cannot start $script.");
        }
        $this->running[$name] = ['process' => $process, 'log' => $log];
        if ($untilPrinted !== null) {
            $this->waitUntil(
                static fn (): bool => preg_match($untilPrinted, (string) file_get_contents($log)) === 1,
                "$name did not begin:\n" . $this->logOf($name)
            );
        }
    }

    /**
     * Starts a worker with the example's configuration; assigned() waits until it has partitions.
     *
     * @param list<string> $arguments of realtime:kafka:consume
     */
    public function worker(string $name, array $arguments): void
    {
        $console = dirname(__DIR__, 3) . '/console';
        $this->start($name, $console, ['realtime:kafka:consume', ...$arguments]);
    }

    /**
     * Waits until each of these workers has partitions, so that all of them receive the messages published afterwards.
     */
    public function assigned(string ...$names): void
    {
        foreach ($names as $name) {
            // A worker that joins others is told first that it has nothing yet.
            $has = fn (): bool => preg_match('/assigned: \S+ \[/', $this->logOf($name)) === 1;
            $this->waitUntil($has, "$name got no partitions.");
        }
    }

    /**
     * @param callable(): bool $condition
     */
    public function waitUntil(callable $condition, string $failure, float $seconds = 30.0): void
    {
        $deadline = microtime(true) + $seconds;
        while (!$condition()) {
            if (microtime(true) > $deadline) {
                throw new RuntimeException($failure);
            }
            usleep(20_000);
        }
    }

    /**
     * The output of a process so far.
     */
    public function logOf(string $name): string
    {
        return is_file("$this->logs/$name.log") ? (string) file_get_contents("$this->logs/$name.log") : '';
    }

    public function isRunning(string $name): bool
    {
        return isset($this->running[$name]) && proc_get_status($this->running[$name]['process'])['running'];
    }

    /**
     * Stops one process: by SIGTERM, after which a worker finishes the current message, or immediately.
     */
    public function stop(string $name, bool $atOnce = false): void
    {
        if (!isset($this->running[$name])) {
            return;
        }
        $process = $this->running[$name]['process'];
        unset($this->running[$name]);
        proc_terminate($process, $atOnce ? 9 : 15);
        for ($i = 0; $i < 500 && proc_get_status($process)['running']; $i++) {
            $i === 400 && proc_terminate($process, 9);
            usleep(20_000);
        }
        proc_close($process);
    }

    /**
     * Stops all processes, the last one first, and removes their logs.
     */
    public function stopAll(): void
    {
        foreach (array_reverse(array_keys($this->running)) as $name) {
            $this->stop($name);
        }
        array_map('unlink', glob("$this->logs/*.log") ?: []);
        is_dir($this->logs) && rmdir($this->logs);
    }

    /**
     * The options that load this process's extension in a child process; none if php.ini loads it.
     *
     * @return list<string>
     */
    private static function extension(): array
    {
        $has = escapeshellarg(PHP_BINARY) . ' -r ' . escapeshellarg('echo (int) extension_loaded("toporia_realtime");');
        if (trim((string) shell_exec($has)) === '1') {
            return [];
        }
        $built = getenv('REALTIME_EXTENSION') ?: dirname(__DIR__, 3) . '/target/release/libtoporia_realtime.so';

        return ['-d', "extension=$built"];
    }
}
