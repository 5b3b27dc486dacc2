<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

/**
 * Formats a lag report as JSON. Rates are records per second, null with a single snapshot; times are seconds, null if
 * unknown or if nothing is consumed.
 */
final class LagJson
{
    /**
     * @return array<string, mixed>
     */
    public static function of(LagReport $report, int $limit): array
    {
        $groups = $limit === 0 ? $report->groups : array_slice($report->groups, 0, $limit);

        return [
            'at' => round($report->at, 3),
            'kafka' => $report->kafka,
            'ok' => $report->failures === [],
            'groups_found' => count($report->groups),
            'lag' => $report->lag(),
            'sample_seconds' => round($report->seconds, 3),
            'failures' => (object) $report->failures,
            'groups' => array_map(self::group(...), $groups),
        ];
    }

    /**
     * @return array<string, mixed>
     */
    private static function group(GroupLag $group): array
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
            'notes' => LagReport::notes($snapshot),
            'deleted_topics' => $snapshot->deleted,
            'partitions' => array_map(
                static fn (PartitionLag $partition): array => self::partition($group, $partition),
                $snapshot->partitions
            ),
        ];
    }

    /**
     * @return array<string, mixed>
     */
    private static function partition(GroupLag $group, PartitionLag $partition): array
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
