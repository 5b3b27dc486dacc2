<?php

/**
 * One partition as a consumer group stands in it.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Ops;

/**
 * All of it from one look at Kafka.
 */
final class PartitionLag
{
    /** There are records, and the group has committed nothing: the lag counts from the beginning. */
    public const NO_COMMIT = 'no_commit';
    /** Records that the group had not read are gone: the lag counts what is left. */
    public const OUT_OF_RANGE = 'out_of_range';
    /** The commit is past the end: the topic was made anew, or a transaction is open. */
    public const AHEAD = 'ahead';

    /**
     * @param int|null $committed the next record that the group wants; null: it has committed nothing
     * @param int $beginning the first offset that is still there
     * @param int $end the offset after the last
     */
    public function __construct(
        public readonly string $topic,
        public readonly int $partition,
        public readonly ?int $committed,
        public readonly int $beginning,
        public readonly int $end
    ) {
    }

    /**
     * Records that the group has not committed and can still read.
     */
    public function lag(): int
    {
        return max(0, $this->end - max($this->committed ?? 0, $this->beginning));
    }

    /**
     * What is odd here, if anything is.
     *
     * @return self::*|null
     */
    public function anomaly(): ?string
    {
        return match (true) {
            $this->committed === null => $this->lag() > 0 ? self::NO_COMMIT : null,
            $this->committed < $this->beginning => self::OUT_OF_RANGE,
            $this->committed > $this->end => self::AHEAD,
            default => null,
        };
    }

    /**
     * Records that were deleted before the group has read them.
     */
    public function lost(): int
    {
        return max(0, $this->beginning - ($this->committed ?? $this->beginning));
    }
}
