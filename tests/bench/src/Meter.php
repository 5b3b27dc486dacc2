<?php

/**
 * Measures this process between two moments: CPU time of all threads, wall clock and memory.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Bench;

final class Meter
{
    private function __construct(private int $cpu, private int $wall)
    {
    }

    public static function start(): self
    {
        return new self(self::cpu(), hrtime(true));
    }

    /**
     * Prints one line of JSON for the process that runs the benchmark.
     *
     * @param array<string, mixed> $more
     */
    public function report(int $messages, array $more = []): void
    {
        $line = $more + ['messages' => $messages, 'cpu_us' => $this->cpuTime()]
            + ['wall_us' => (hrtime(true) - $this->wall) / 1000];
        echo json_encode($line, JSON_THROW_ON_ERROR), "\n";
    }

    /**
     * User and system time of every thread since the start, in µs.
     */
    public function cpuTime(): int
    {
        return self::cpu() - $this->cpu;
    }

    /**
     * Resident memory in KB.
     */
    public static function memory(): int
    {
        preg_match('/^VmRSS:\s+(\d+)/m', (string) file_get_contents('/proc/self/status'), $found);

        return (int) ($found[1] ?? 0);
    }

    /**
     * User and system time of every thread, in µs.
     */
    private static function cpu(): int
    {
        $usage = getrusage();

        return ($usage['ru_utime.tv_sec'] + $usage['ru_stime.tv_sec']) * 1000000
            + $usage['ru_utime.tv_usec'] + $usage['ru_stime.tv_usec'];
    }
}
