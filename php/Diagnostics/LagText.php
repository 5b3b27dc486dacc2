<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

use Toporia\Realtime\Worker\Text;

/**
 * Formats a lag report as text: total, groups, problems, and the partitions of a single group. Fits the width of the
 * terminal.
 */
final class LagText
{
    private const STATES = [
        'PreparingRebalance' => 'rebalancing',
        'CompletingRebalance' => 'rebalancing',
        'Dead' => 'no group',
    ];
    private const ANOMALIES = [
        PartitionLag::NO_COMMIT => 'no commit',
        PartitionLag::OUT_OF_RANGE => 'out of range',
        PartitionLag::AHEAD => 'past the end',
    ];
    private const MAX_NOTES = 10;

    /** @param int $width maximum line length of a table, in characters; 0: no limit */
    public function __construct(private LagOptions $options, private int $width)
    {
    }

    /** @return list<string> */
    public function lines(LagReport $report): array
    {
        if ($report->groups === []) {
            return ["No consumer group on $report->kafka matches, of those visible to this user."];
        }
        $shown = $this->first($report->groups);
        $lines = [$this->sum($report, count($shown)), '', ...$this->groups($shown), ...$this->notes($shown)];
        if ($this->options->partitions || count($report->groups) === 1) {
            foreach ($shown as $group) {
                $lines = [...$lines, ...$this->partitions($group, count($report->groups) > 1)];
            }
        }

        return [...$lines, ...$this->summary($report)];
    }

    private function sum(LagReport $report, int $shown): string
    {
        $groups = count($report->groups);
        $unknown = count(array_filter($report->groups, static fn (GroupLag $group): bool => $group->now->error !== null));
        $text = "$report->kafka: " . Text::count($groups, 'group') . ', ' . Text::count($report->lag(), 'record')
            . ' behind' . ($unknown === 0 ? '' : ' at least (' . Text::number($unknown) . ' not known)');
        if ($shown < $groups) {
            $text .= '; the ' . Text::number($shown) . ' with the highest lag (--limit=0 shows all)';
        }

        return $text . ($this->options->watch === null ? '' : date(' · H:i:s', (int) $report->at));
    }

    /**
     * @param list<GroupLag> $groups
     *
     * @return list<string>
     */
    private function groups(array $groups): array
    {
        $rows = [];
        foreach ($groups as $group) {
            $snapshot = $group->now;
            $rows[] = [
                $snapshot->group,
                $snapshot->error !== null ? 'unknown' : self::STATES[$snapshot->state] ?? strtolower($snapshot->state ?? ''),
                $snapshot->members === null ? '' : Text::number(count($snapshot->members)),
                Text::number(count($snapshot->partitions)),
                $snapshot->error !== null ? '?' : Text::number($snapshot->lag()),
                $group->produced === null ? '' : Text::rate($group->produced),
                $group->consumed === null ? '' : Text::rate($group->consumed),
                $group->forecast(),
            ];
        }
        $number = Table::NUMBER;

        return Table::lines([
            'GROUP' => Table::TEXT, 'STATE' => Table::TEXT, 'MEMBERS' => $number, 'PARTS' => $number,
            'LAG' => $number, 'IN/S' => $number, 'OUT/S' => $number, 'CAUGHT UP' => Table::TEXT,
        ], $rows, $this->width);
    }

    /**
     * @param list<GroupLag> $groups
     *
     * @return list<string>
     */
    private function notes(array $groups): array
    {
        $groupsByNote = [];
        foreach ($groups as $group) {
            $all = $group->now->error === null ? LagReport::notes($group->now) : [$group->now->error];
            foreach ($all as $note) {
                $groupsByNote[$note][] = $group->now->group;
            }
        }
        $notes = [];
        foreach ($groupsByNote as $note => $names) {
            $more = count($names) > 2 ? ' and ' . Text::number(count($names) - 1) . ' more' : '';
            $names = $more === '' ? implode(', ', $names) : $names[0];
            $notes[] = Text::printable("  $names$more: $note");
        }
        if ($notes === []) {
            return [];
        }
        $more = count($notes) - self::MAX_NOTES;
        $notes = array_slice($notes, 0, self::MAX_NOTES);

        return ['', ...$notes, ...($more > 0 ? ['  … and ' . Text::number($more) . ' more (--json has all)'] : [])];
    }

    /** @return list<string> */
    private function partitions(GroupLag $group, bool $named): array
    {
        $partitions = $group->now->partitions;
        if ($partitions === []) {
            return [];
        }
        usort($partitions, static fn (PartitionLag $a, PartitionLag $b): int =>
            [-$a->lag(), $a->topic, $a->partition] <=> [-$b->lag(), $b->topic, $b->partition]);
        $rows = [];
        $shown = $this->first($partitions);
        foreach ($shown as $partition) {
            $rates = $group->rates($partition);
            $member = $group->now->reader($partition);
            $rows[] = [
                $partition->topic,
                (string) $partition->partition,
                $partition->committed === null ? '-' : Text::number($partition->committed),
                Text::number($partition->end),
                Text::number($partition->lag()),
                $rates === null ? '' : Text::rate($rates[0]),
                $rates === null ? '' : Text::rate($rates[1]),
                $member === null ? '' : ($member['instance'] ?? $member['client']) . '@' . $member['host'],
                self::ANOMALIES[$partition->anomaly()] ?? '',
            ];
        }
        $number = Table::NUMBER;
        $table = Table::lines([
            'TOPIC' => Table::TEXT, 'PART' => $number, 'COMMITTED' => $number, 'END' => $number, 'LAG' => $number,
            'IN/S' => $number, 'OUT/S' => $number, 'MEMBER' => Table::TEXT, 'NOTE' => Table::TEXT,
        ], $rows, $this->width);
        $more = count($partitions) - count($shown);

        return [
            '',
            ...($named ? [Text::printable($group->now->group) . ':'] : []),
            ...$table,
            ...($more > 0 ? ['… and ' . Text::count($more, 'partition') . ' more (--limit=0 shows all)'] : []),
        ];
    }

    /** @return list<string> */
    private function summary(LagReport $report): array
    {
        if (!$this->options->isCheck()) {
            return [];
        }
        if ($report->failures === []) {
            return ['', 'OK: ' . (count($report->groups) === 1 ? 'it is' : 'all are') . ' within the limits.'];
        }
        $lines = ['', 'NOT OK: ' . Text::count(count($report->failures), 'group')];
        foreach ($this->first(array_keys($report->failures)) as $group) {
            $lines[] = Text::printable("  $group: " . $report->failures[$group]);
        }

        return $lines;
    }

    /**
     * @template T
     *
     * @param list<T> $list
     *
     * @return list<T>
     */
    private function first(array $list): array
    {
        return $this->options->limit === 0 ? $list : array_slice($list, 0, $this->options->limit);
    }
}
