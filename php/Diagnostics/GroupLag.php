<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

use Toporia\Realtime\Worker\Text;

/**
 * Lag of a consumer group, with rates computed from two snapshots, and the time until it has caught up. Rates are null
 * if there is only one snapshot.
 */
final class GroupLag
{
    /** A lag of up to this many seconds is the normal delay between two commits. */
    private const MAX_NORMAL_SECONDS = 5.0;

    /** Records written per second, to all partitions of the group. */
    public readonly ?float $produced;
    /** Records committed per second. */
    public readonly ?float $consumed;

    /** @var array<string, array{float, float}> produced and consumed per second, by topic and partition */
    private array $rates = [];

    /**
     * @param GroupSnapshot|null $before the earlier snapshot; null if there is none
     * @param float $seconds between the two snapshots
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
            // Offsets that went back (a recreated topic, a reset group) count as a rate of 0.
            $written = max(0, $partition->end - $earlier->end);
            $from = $earlier->committed ?? $earlier->beginning;
            $read = $partition->committed === null ? 0 : max(0, $partition->committed - $from);
            $this->rates[self::key($partition)] = [$written / $seconds, $read / $seconds];
        }
        $this->produced = array_sum(array_column($this->rates, 0));
        $this->consumed = array_sum(array_column($this->rates, 1));
    }

    /**
     * Records produced and consumed per second in one partition; null if unknown.
     *
     * @return array{float, float}|null
     */
    public function rates(PartitionLag $partition): ?array
    {
        return $this->rates[self::key($partition)] ?? null;
    }

    /** Seconds needed to consume the lag; INF while nothing is consumed; null if unknown. */
    public function behind(): ?float
    {
        $lag = $this->now->lag();
        if ($lag === 0) {
            return 0.0;
        }

        return $this->consumed === null ? null : ($this->consumed > 0.0 ? $lag / $this->consumed : INF);
    }

    /** Seconds until the group has caught up, if both rates stay the same; INF for never; null if unknown. */
    public function catchesUp(): ?float
    {
        $behind = $this->behind();
        if ($behind === null || $behind <= self::MAX_NORMAL_SECONDS) {
            return $behind;
        }
        $net = $this->consumed - $this->produced;

        return $net > 0.0 ? $this->now->lag() / $net : INF;
    }

    /** The same as text. */
    public function forecast(): string
    {
        $lag = $this->now->lag();
        $catchesUp = $this->catchesUp();

        return match (true) {
            $this->now->error !== null || $this->now->isMissing() => '',
            $lag === 0 => $this->now->partitions === [] ? '' : 'yes',
            $this->now->members === [] && ($this->consumed ?? 0.0) <= 0.0 => 'never: no consumer',
            $catchesUp === null => '',
            ($this->consumed ?? 0.0) <= 0.0 => 'never: not consuming',
            $catchesUp === INF => 'never: lag is growing',
            ($this->behind() ?? 0.0) <= self::MAX_NORMAL_SECONDS => 'keeps up',
            default => Text::seconds($catchesUp),
        };
    }

    private static function key(PartitionLag $partition): string
    {
        return "$partition->topic/$partition->partition";
    }
}
