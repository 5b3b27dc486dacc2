<?php

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

/**
 * The result of a worker's run. Printed as the last line of realtime:kafka:consume; also determines its exit code.
 */
final class Summary
{
    /**
     * @param int $handled messages whose callback returned, and dead letters
     * @param int $unhandled messages among them without an entry in `realtime.handlers`
     * @param string $reason why it stopped: `signal`, `max_messages`, `empty`, `stopped`, `error`, `max_time`,
     *        `max_memory` or `restart`
     * @param array<string, mixed> $stats of Broker::stats() at the end
     */
    public function __construct(
        public readonly int $handled,
        public readonly int $unhandled,
        public readonly float $seconds,
        public readonly string $reason,
        public readonly int $exitCode,
        public readonly array $stats
    ) {
    }

    public function rate(): float
    {
        return $this->seconds > 0 ? $this->handled / $this->seconds : 0.0;
    }

    /**
     * A counter of Broker::stats().
     */
    public function stat(string $key): int
    {
        return (int) ($this->stats[$key] ?? 0);
    }
}
