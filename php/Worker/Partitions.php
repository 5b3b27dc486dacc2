<?php

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

/**
 * Formats lists of partitions. `realtime_user_1 [0-3], realtime_user_2 [1]`
 */
final class Partitions
{
    /**
     * @param array<int, array{topic: string, partition: int}> $partitions
     */
    public static function describe(array $partitions): string
    {
        $topics = [];
        foreach ($partitions as ['topic' => $topic, 'partition' => $partition]) {
            $topics[$topic][] = $partition;
        }
        ksort($topics, SORT_STRING);
        $parts = [];
        foreach (array_slice($topics, 0, 10, true) as $topic => $numbers) {
            $parts[] = "$topic [" . self::ranges($numbers) . ']';
        }
        if (count($topics) > count($parts)) {
            $parts[] = 'and ' . Text::count(count($topics) - count($parts), 'more topic');
        }

        return $parts === [] ? 'nothing (all partitions are assigned to other members)' : implode(', ', $parts);
    }

    /** @param list<int> $numbers */
    private static function ranges(array $numbers): string
    {
        sort($numbers);
        $ranges = [];
        foreach ($numbers as $number) {
            $last = array_key_last($ranges);
            if ($last !== null && $ranges[$last][1] === $number - 1) {
                $ranges[$last][1] = $number;
            } else {
                $ranges[] = [$number, $number];
            }
        }

        return implode(',', array_map(
            static fn (array $range): string => implode('-', array_unique($range)),
            $ranges
        ));
    }
}
