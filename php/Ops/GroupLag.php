<?php

/**
 * A consumer group between two looks: how far behind it is, how fast both sides are, when it has caught up.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Ops;

/**
 * Rates are null after one look only.
 */
final class GroupLag
{
    /** What can be read in so many seconds is between two commits, no backlog. */
    private const MAX_NORMAL_SECONDS = 5.0;

    /** Records written a second, into all of its partitions. */
    public readonly ?float $produced;
    /** Records committed a second. */
    public readonly ?float $consumed;

    /** @var array<string, array{float, float}> produced and consumed a second, by topic and partition */
    private array $rates = [];

    /**
     * @param GroupSnapshot|null $before null: there was no earlier look
     * @param float $seconds between the two looks
     */
    public function __construct(public readonly GroupSnapshot $now, ?GroupSnapshot $before = null, float $seconds = 0.0)
    {
        if ($before === null || $seconds <= 0.0 || $before->error !== null || $now->error !== null) {
            $this->produced = $this->consumed = null;

            return;
        }
        $known = [];
        foreach ($before->partitions as $partition) {
            $known[self::key($partition)] = $partition;
        }
        foreach ($now->partitions as $partition) {
            $earlier = $known[self::key($partition)] ?? null;
            if ($earlier === null) {
                continue;
            }
            // What goes back (a topic made anew, a group that was reset) is no rate.
            $written = max(0, $partition->end - $earlier->end);
            $from = $earlier->committed ?? $earlier->beginning;
            $read = $partition->committed === null ? 0 : max(0, $partition->committed - $from);
            $this->rates[self::key($partition)] = [$written / $seconds, $read / $seconds];
        }
        $this->produced = array_sum(array_column($this->rates, 0));
        $this->consumed = array_sum(array_column($this->rates, 1));
    }

    /**
     * Produced and consumed a second in one partition; null where it is not known.
     *
     * @return array{float, float}|null
     */
    public function rates(PartitionLag $partition): ?array
    {
        return $this->rates[self::key($partition)] ?? null;
    }

    /**
     * Seconds of consuming that the lag stands for; INF while nothing is consumed; null: not known.
     */
    public function behind(): ?float
    {
        $lag = $this->now->lag();
        if ($lag === 0) {
            return 0.0;
        }

        return $this->consumed === null ? null : ($this->consumed > 0.0 ? $lag / $this->consumed : INF);
    }

    /**
     * Seconds until nothing is left, if both sides go on like this; INF for never; null: not known.
     */
    public function catchesUp(): ?float
    {
        $behind = $this->behind();
        if ($behind === null || $behind <= self::MAX_NORMAL_SECONDS) {
            return $behind;
        }
        $net = $this->consumed - $this->produced;

        return $net > 0.0 ? $this->now->lag() / $net : INF;
    }

    /**
     * The same in words.
     */
    public function forecast(): string
    {
        $lag = $this->now->lag();
        $catchesUp = $this->catchesUp();

        return match (true) {
            $this->now->error !== null || $this->now->isMissing() => '',
            $lag === 0 => $this->now->partitions === [] ? '' : 'yes',
            $this->now->members === [] && ($this->consumed ?? 0.0) <= 0.0 => 'never: nobody reads',
            $catchesUp === null => '',
            ($this->consumed ?? 0.0) <= 0.0 => 'never: stands still',
            $catchesUp === INF => 'never: falls behind',
            ($this->behind() ?? 0.0) <= self::MAX_NORMAL_SECONDS => 'keeps up',
            default => Units::seconds($catchesUp),
        };
    }

    private static function key(PartitionLag $partition): string
    {
        return "$partition->topic/$partition->partition";
    }
}
