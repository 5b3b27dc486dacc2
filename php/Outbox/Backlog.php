<?php

/**
 * How much waits in the outbox.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Outbox;

/**
 * Each number counts up to MOST; one more says that there are more.
 */
final class Backlog
{
    public const MAX_COUNT = 10000;

    /**
     * @param int $pending not tried yet
     * @param int $retry refused by Kafka, waiting for another try
     * @param int $failed never to be sent: somebody has to look at them
     * @param float $age seconds since the oldest of those that were counted was written
     */
    public function __construct(
        public readonly int $pending,
        public readonly int $retry,
        public readonly int $failed,
        public readonly float $age
    ) {
    }

    public function isEmpty(): bool
    {
        return $this->pending === 0 && $this->retry === 0;
    }
}
