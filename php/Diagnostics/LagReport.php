<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

use Toporia\Realtime\Worker\Text;

/**
 * The lag of consumer groups at one moment, worst first, with the problems of each. The data behind the text and JSON
 * output of realtime:lag.
 */
final class LagReport
{
    private const MISSING = 'the group does not exist: no worker has consumed with it yet. Is the name correct?';

    /** @var list<GroupLag> unreadable groups first, then by descending lag */
    public readonly array $groups;
    /** @var array<string, string> violated limit by group */
    public readonly array $failures;

    /**
     * @param string $kafka the bootstrap addresses
     * @param array<string, GroupSnapshot> $snapshots
     * @param array<string, GroupSnapshot> $before the previous snapshots; empty if there are none
     * @param float $seconds between the two snapshots
     * @param float $at Unix seconds
     */
    public function __construct(
        public readonly string $kafka,
        array $snapshots,
        array $before,
        public readonly float $seconds,
        public readonly float $at,
        LagOptions $options
    ) {
        $groups = [];
        foreach ($snapshots as $name => $snapshot) {
            $groups[] = new GroupLag($snapshot, $before[$name] ?? null, $seconds);
        }
        usort($groups, static fn (GroupLag $a, GroupLag $b): int =>
            [$a->now->error === null, -$a->now->lag(), $a->now->group]
            <=> [$b->now->error === null, -$b->now->lag(), $b->now->group]);
        $this->groups = $groups;
        $failures = [];
        foreach ($groups as $group) {
            $failure = self::failure($group, $options);
            if ($failure !== null) {
                $failures[$group->now->group] = $failure;
            }
        }
        $this->failures = $failures;
    }

    /** The lag in records, over all groups. */
    public function lag(): int
    {
        return array_sum(array_map(static fn (GroupLag $group): int => $group->now->lag(), $this->groups));
    }

    /**
     * The problems of a group, as sentences.
     *
     * @return list<string>
     */
    public static function notes(GroupSnapshot $snapshot): array
    {
        if ($snapshot->isMissing()) {
            return [self::MISSING];
        }
        $notes = [];
        $without = 0;
        foreach ($snapshot->partitions as $partition) {
            $place = "$partition->topic/$partition->partition";
            $without += (int) ($partition->anomaly() === PartitionLag::NO_COMMIT);
            if ($partition->anomaly() === PartitionLag::OUT_OF_RANGE) {
                $notes[] = "$place is out of range: " . Text::count($partition->lost(), 'record')
                    . ' were deleted unread (committed ' . Text::number((int) $partition->committed) . ', begins at '
                    . Text::number($partition->beginning) . '). Consume faster, or increase the retention.';
            } elseif ($partition->anomaly() === PartitionLag::AHEAD) {
                $notes[] = "$place: the commit (" . Text::number((int) $partition->committed) . ') is past the end ('
                    . Text::number($partition->end) . '): the topic was recreated, or a transaction is open.';
            }
        }
        if ($without > 0) {
            $notes[] = Text::count($without, 'partition') . ' without a committed offset: the lag counts from the '
                . 'beginning.';
        }
        foreach ($snapshot->deleted as $topic) {
            $notes[] = "topic $topic no longer exists: it was deleted.";
        }

        return [...$notes, ...array_values($snapshot->errors)];
    }

    private static function failure(GroupLag $group, LagOptions $options): ?string
    {
        $snapshot = $group->now;
        if ($snapshot->error !== null) {
            return $snapshot->error;
        }
        if (!$options->isCheck()) {
            return null;
        }
        if ($snapshot->isMissing()) {
            return self::MISSING;
        }
        if ($snapshot->errors !== []) {
            return (string) current($snapshot->errors);
        }
        if ($options->threshold !== null && $snapshot->lag() > $options->threshold) {
            return Text::count($snapshot->lag(), 'record') . ' behind, ' . Text::number($options->threshold) . ' allowed';
        }
        $behind = $options->maxSeconds === null ? null : $group->behind();
        if ($behind !== null && $behind > $options->maxSeconds) {
            $takes = $behind === INF ? 'and nothing is consumed' : 'which take ' . Text::seconds($behind);

            return Text::count($snapshot->lag(), 'record') . " behind, $takes; "
                . Text::seconds((float) $options->maxSeconds) . ' allowed';
        }

        return null;
    }

    /**
     * The report for --json. Rates are records per second, null with a single snapshot; times are seconds, null if unknown or
     * if nothing is consumed.
     *
     * @param int $limit maximum number of groups; 0: no limit
     *
     * @return array<string, mixed>
     */
    public function toArray(int $limit): array
    {
        $groups = $limit === 0 ? $this->groups : array_slice($this->groups, 0, $limit);

        return [
            'at' => round($this->at, 3),
            'kafka' => $this->kafka,
            'ok' => $this->failures === [],
            'groups_found' => count($this->groups),
            'lag' => $this->lag(),
            'sample_seconds' => round($this->seconds, 3),
            'failures' => (object) $this->failures,
            'groups' => array_map(self::groupArray(...), $groups),
        ];
    }

    /** @return array<string, mixed> */
    private static function groupArray(GroupLag $group): array
    {
        $snapshot = $group->now;

        return [
            'group' => $snapshot->group,
            'error' => $snapshot->error,
            'state' => $snapshot->state,
            'members' => $snapshot->members === null ? null : array_map(
                static fn (array $member): array => array_diff_key($member, ['assignment' => 0]),
                $snapshot->members
            ),
            'lag' => $snapshot->error === null ? $snapshot->lag() : null,
            'produced_per_second' => self::round($group->produced),
            'consumed_per_second' => self::round($group->consumed),
            'behind_seconds' => self::round($group->behind()),
            'catches_up_in_seconds' => self::round($group->catchesUp()),
            'outlook' => $group->forecast(),
            'notes' => self::notes($snapshot),
            'deleted_topics' => $snapshot->deleted,
            'partitions' => array_map(
                static fn (PartitionLag $partition): array => self::partitionArray($group, $partition),
                $snapshot->partitions
            ),
        ];
    }

    /** @return array<string, mixed> */
    private static function partitionArray(GroupLag $group, PartitionLag $partition): array
    {
        $rates = $group->rates($partition);

        return [
            'topic' => $partition->topic,
            'partition' => $partition->partition,
            'committed' => $partition->committed,
            'beginning' => $partition->beginning,
            'end' => $partition->end,
            'lag' => $partition->lag(),
            'mark' => $partition->anomaly(),
            'produced_per_second' => self::round($rates[0] ?? null),
            'consumed_per_second' => self::round($rates[1] ?? null),
            'member' => $group->now->reader($partition)['id'] ?? null,
        ];
    }

    private static function round(?float $number): ?float
    {
        return $number === null || is_infinite($number) ? null : round($number, 3);
    }
}
