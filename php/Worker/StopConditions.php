<?php

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

use Closure;
use Toporia\Realtime\Metrics;

/**
 * The reasons for a worker to stop by itself. Evaluated several times per second, between two records; the current
 * record is always finished. Keeps the first reason that is reached: a worker stops for one reason.
 */
final class StopConditions
{
    private ?string $met = null;

    /** @param list<Closure(): ?string> $conditions each returns the reason for the summary (`max_time`); null: continue */
    public function __construct(private array $conditions)
    {
    }

    /**
     * @param int $maxTime seconds from now, on a monotonic clock; 0: no limit
     * @param int $maxMemory bytes of resident memory; 0: no limit
     * @param Closure(): ?string ...$others evaluated first
     */
    public static function of(int $maxTime, int $maxMemory, RestartSignal $restart, Closure ...$others): self
    {
        $conditions = [...array_values($others), $restart->condition()];
        if ($maxTime > 0) {
            $end = (int) hrtime(true) + $maxTime * 1_000_000_000;
            $conditions[] = static fn (): ?string => hrtime(true) >= $end ? 'max_time' : null;
        }
        if ($maxMemory > 0) {
            $conditions[] = static fn (): ?string => self::residentBytes() >= $maxMemory ? 'max_memory' : null;
        }

        return new self($conditions);
    }

    /** Reports liveness each time the conditions are evaluated; never stops the worker. */
    public static function heartbeat(): ?string
    {
        Metrics::beat();

        return null;
    }

    /**
     * The resident set size, native buffers included, because that is what the kernel and containers limit; where /proc
     * is not available, the memory allocated by PHP.
     */
    public static function residentBytes(): int
    {
        $status = @file_get_contents('/proc/self/status');
        if ($status !== false && preg_match('/^VmRSS:\s+(\d+) kB/m', $status, $match) === 1) {
            return (int) $match[1] * 1024;
        }

        return memory_get_usage(true);
    }

    public function reason(): ?string
    {
        foreach ($this->conditions as $condition) {
            $this->met ??= $condition();
        }

        return $this->met;
    }

    /** Sleeps; returns early, with false, when a condition is met. */
    public function pause(float $seconds): bool
    {
        $until = hrtime(true) / 1e9 + $seconds;
        while ($this->reason() === null) {
            $left = $until - hrtime(true) / 1e9;
            if ($left <= 0) {
                return true;
            }
            usleep((int) (min(0.1, $left) * 1e6));
        }

        return false;
    }

    /** The reason found so far, without evaluating again. */
    public function met(): ?string
    {
        return $this->met;
    }
}
