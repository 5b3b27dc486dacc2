<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

use Toporia\Realtime\Worker\Text;

/**
 * Formats topics as a table or as arrays. RECORDS is the number of offsets in a topic, an upper bound for its records.
 */
final class TopicTable
{
    /**
     * @param array<string, array{error: ?string, partitions: array<int, array{beginning: int, end: int}>}> $spans
     *     of Admin::offsetsOfTopics(), as far as they are known
     */
    public function __construct(private TopicPlan $plan, private array $spans)
    {
    }

    /**
     * @param list<TopicState> $topics
     *
     * @return list<string>
     */
    public function lines(array $topics, int $width): array
    {
        $rows = [];
        foreach ($topics as $topic) {
            $records = $this->records($topic);
            $rows[] = [
                $topic->name,
                $this->plan->kind($topic->name) ?? '',
                Text::number(count($topic->partitions)),
                Text::number($topic->replicas()),
                $records === null ? '?' : Text::number($records),
                $topic->problem() ?? implode(', ', $this->plan->wanted[$topic->name]->patterns ?? []),
            ];
        }

        return Table::lines([
            'TOPIC' => Table::TEXT, 'KIND' => Table::TEXT, 'PARTS' => Table::NUMBER, 'REPLICAS' => Table::NUMBER,
            'RECORDS' => Table::NUMBER, 'CHANNELS' => Table::TEXT,
        ], $rows, $width);
    }

    /** @return array<string, mixed> */
    public function toArray(TopicState $topic): array
    {
        return [
            'topic' => $topic->name,
            'kind' => $this->plan->kind($topic->name),
            'channels' => $this->plan->wanted[$topic->name]->patterns ?? [],
            'partitions' => count($topic->partitions),
            'copies' => $topic->replicas(),
            'records' => $this->records($topic),
            'trouble' => $topic->problem(),
        ];
    }

    /** Number of records at most; null if an offset is unknown. */
    public function records(TopicState $topic): ?int
    {
        $known = $this->spans[$topic->name] ?? null;
        if ($known === null || $known['error'] !== null) {
            return null;
        }

        return array_sum(array_map(
            static fn (array $span): int => $span['end'] - $span['beginning'],
            $known['partitions']
        ));
    }
}
