<?php

/**
 * What a worker did from its start to its end.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

/**
 * The last line of realtime:kafka:consume, and its exit code.
 */
final class Summary
{
    /**
     * @param int $handled messages whose callback returned, and those that became dead letters
     * @param int $unhandled those among them with no entry in `realtime.handlers`
     * @param string $reason why it stopped: `signal`, `max_messages`, `empty`, `stopped`, `error`, `max_time`,
     *        `max_memory` or `restart`
     * @param array<string, mixed> $stats of Broker::stats(), taken at the end
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
     * A number of Broker::stats().
     */
    public function stat(string $key): int
    {
        return (int) ($this->stats[$key] ?? 0);
    }
}
