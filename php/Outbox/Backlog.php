<?php

declare(strict_types=1);

namespace Toporia\Realtime\Outbox;

use Toporia\Realtime\Worker\Text;

/** The number of rows waiting in the outbox. Counts are capped: MAX_COUNT + 1 means that there are more. */
final class Backlog
{
    public const MAX_COUNT = 10000;

    /**
     * @param int $pending rows not attempted yet
     * @param int $retry rows rejected by Kafka, waiting for another attempt
     * @param int $failed rows that can never be sent and need manual attention
     * @param float $age age of the oldest counted row, in seconds
     */
    public function __construct(
        public readonly int $pending,
        public readonly int $retry,
        public readonly int $failed,
        public readonly float $age
    ) {
    }

    /** A count for output: `17`, or `more than 10,000`. */
    public static function shown(int $count): string
    {
        return $count > self::MAX_COUNT ? 'more than ' . Text::number(self::MAX_COUNT) : Text::number($count);
    }

    public function isEmpty(): bool
    {
        return $this->pending === 0 && $this->retry === 0;
    }
}
