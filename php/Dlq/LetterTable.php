<?php

declare(strict_types=1);

namespace Toporia\Realtime\Dlq;

use Toporia\Realtime\Worker\Text;

/**
 * Formats letters as a table. Two lines per letter: the columns, then the message id and the exception's message.
 */
final class LetterTable
{
    private const GAP = '  ';

    /**
     * @param list<array<string, mixed>> $letters results of Letter::toArray()
     * @param int $now Unix seconds
     * @param int $width maximum line length, in characters; 0: no limit
     *
     * @return list<string>
     */
    public static function lines(array $letters, int $now, int $width = 0): array
    {
        $rows = [['AGE', 'LETTER', 'GROUP', 'EVENT', 'CLASS', 'ATTEMPTS', 'REPLAYS', 'REPLAYED']];
        foreach ($letters as $letter) {
            $class = $letter['class'] ?? null;
            $rows[] = array_map(Text::printable(...), [
                PointInTime::age($letter['failed_at'], $now),
                $letter['letter'],
                $letter['group'] ?? '-',
                $letter['event'] ?? '-',
                $class === null ? '-' : substr((string) strrchr("\\$class", '\\'), 1),
                (string) ($letter['attempts'] ?? '-'),
                (string) $letter['replays'],
                $letter['replayed_at'] === null ? '' : PointInTime::age($letter['replayed_at'], $now) . ' ago',
            ]);
        }
        if (array_filter(array_column($letters, 'replayed_at')) === []) {
            $rows = array_map(static fn (array $row): array => array_slice($row, 0, -1), $rows);
        }
        $widths = self::widths($rows);
        $lines = [];
        foreach ($rows as $i => $row) {
            $lines[] = self::cut(rtrim(self::row($row, $widths)), $width);
            if ($i > 0) {
                $letter = $letters[$i - 1];
                $below = $letter['id'] . self::GAP . ($letter['message'] ?? 'no reason given');
                $lines[] = self::cut(str_repeat(' ', $widths[0]) . self::GAP . Text::printable($below), $width);
            }
        }

        return $lines;
    }

    /**
     * @param list<list<string>> $rows
     *
     * @return list<int>
     */
    private static function widths(array $rows): array
    {
        $widths = array_fill(0, count($rows[0]), 0);
        foreach ($rows as $row) {
            foreach ($row as $column => $text) {
                $widths[$column] = max($widths[$column], self::length($text));
            }
        }

        return $widths;
    }

    /**
     * @param list<string> $row
     * @param list<int> $widths
     */
    private static function row(array $row, array $widths): string
    {
        $cells = [];
        foreach ($row as $column => $text) {
            $cells[] = $text . str_repeat(' ', $widths[$column] - self::length($text));
        }


        return implode(self::GAP, $cells);
    }

    private static function length(string $text): int
    {
        return (int) preg_match_all('/./us', $text);
    }

    private static function cut(string $text, int $width): string
    {
        return $width > 0 ? Text::shorten($text, $width) : $text;
    }
}
