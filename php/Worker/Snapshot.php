<?php

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

/** The state of a worker at one moment. Values of Broker::stats(), with the time they were taken. */
final class Snapshot
{
    /**
     * @param float $seconds since the worker started
     * @param int $lag records not yet read, over all partitions; -1: unknown
     * @param list<string> $waitingFor topics that do not exist yet
     * @param int $transientWaiting messages whose last attempt failed with a transient exception
     * @param int $transientWaitMs since the first transient failure of the message that has failed for longest, in ms
     * @param list<string> $openCircuits subscriptions that are paused because their handler fails for every message
     * @param string|null $lastFailure class and message of the last exception of a handler
     */
    public function __construct(
        public readonly float $seconds,
        public readonly int $handled,
        public readonly int $failures,
        public readonly int $lag,
        public readonly bool $connected,
        public readonly array $waitingFor,
        public readonly ?string $lastError,
        public readonly int $transientWaiting = 0,
        public readonly int $transientWaitMs = 0,
        public readonly array $openCircuits = [],
        public readonly ?string $lastFailure = null
    ) {
    }

    /** @param array<string, mixed> $stats of Broker::stats() */
    public static function of(array $stats, float $seconds): self
    {
        return new self(
            $seconds,
            (int) ($stats['handled'] ?? 0),
            (int) ($stats['failures'] ?? 0),
            (int) ($stats['lag'] ?? -1),
            (bool) ($stats['connected'] ?? false),
            array_values((array) ($stats['waiting_for'] ?? [])),
            isset($stats['last_error']) ? (string) $stats['last_error'] : null,
            (int) ($stats['transient_waiting'] ?? 0),
            (int) ($stats['transient_wait_ms'] ?? 0),
            array_values((array) ($stats['open_circuits'] ?? [])),
            isset($stats['last_failure']) ? (string) $stats['last_failure'] : null
        );
    }

    /** Messages per second since an earlier snapshot. */
    public function rateSince(?self $earlier): float
    {
        $seconds = $this->seconds - ($earlier?->seconds ?? 0.0);

        return $seconds > 0 ? max(0, $this->handled - ($earlier?->handled ?? 0)) / $seconds : 0.0;
    }
}
