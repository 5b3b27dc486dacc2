<?php

/**
 * The state of a worker at one moment.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

/**
 * Values of Broker::stats(), with the time they were taken.
 */
final class Snapshot
{
    /**
     * @param float $seconds since the worker started
     * @param int $lag records not yet read, over all partitions; -1: unknown
     * @param list<string> $waitingFor topics that do not exist yet
     */
    public function __construct(
        public readonly float $seconds,
        public readonly int $handled,
        public readonly int $failures,
        public readonly int $lag,
        public readonly bool $connected,
        public readonly array $waitingFor,
        public readonly ?string $lastError
    ) {
    }

    /**
     * @param array<string, mixed> $stats of Broker::stats()
     */
    public static function of(array $stats, float $seconds): self
    {
        return new self(
            $seconds,
            (int) ($stats['handled'] ?? 0),
            (int) ($stats['failures'] ?? 0),
            (int) ($stats['lag'] ?? -1),
            (bool) ($stats['connected'] ?? false),
            array_values((array) ($stats['waiting_for'] ?? [])),
            isset($stats['last_error']) ? (string) $stats['last_error'] : null
        );
    }

    /**
     * Messages per second since an earlier snapshot.
     */
    public function rateSince(?self $earlier): float
    {
        $seconds = $this->seconds - ($earlier?->seconds ?? 0.0);

        return $seconds > 0 ? max(0, $this->handled - ($earlier?->handled ?? 0)) / $seconds : 0.0;
    }
}
