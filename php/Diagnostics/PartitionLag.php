<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

/** The lag of a consumer group in one partition. All values are from the same snapshot. */
final class PartitionLag
{
    /** The group has not committed, although there are records: the lag counts from the beginning. */
    public const NO_COMMIT = 'no_commit';
    /** Records were removed before the group read them: the lag counts the remaining ones. */
    public const OUT_OF_RANGE = 'out_of_range';
    /** The commit is past the end: the topic was recreated, or a transaction is open. */
    public const AHEAD = 'ahead';

    /**
     * @param int|null $committed offset of the next record to read; null: no commit
     * @param int $beginning first available offset
     * @param int $end offset after the last record
     */
    public function __construct(
        public readonly string $topic,
        public readonly int $partition,
        public readonly ?int $committed,
        public readonly int $beginning,
        public readonly int $end
    ) {
    }

    /** Number of records that are not committed but can still be read. */
    public function lag(): int
    {
        return max(0, $this->end - max($this->committed ?? 0, $this->beginning));
    }

    /**
     * The anomaly of this partition, if any.
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

    /** Number of records that were removed before the group read them. */
    public function lost(): int
    {
        return max(0, $this->beginning - ($this->committed ?? $this->beginning));
    }
}
