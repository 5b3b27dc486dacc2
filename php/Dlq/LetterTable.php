<?php

declare(strict_types=1);

namespace Toporia\Realtime\Dlq;

use Toporia\Realtime\Diagnostics\Table;
use Toporia\Realtime\Worker\Text;

/** Formats letters as a table. Two lines per letter: the columns, then the message id and the exception's message. */
final class LetterTable
{
    /**
     * @param list<array<string, mixed>> $letters results of Letter::toArray()
     * @param int $now Unix seconds
     * @param int $width maximum line length, in characters; 0: no limit
     *
     * @return list<string>
     */
    public static function lines(array $letters, int $now, int $width = 0): array
    {
        $columns = ['AGE', 'LETTER', 'GROUP', 'EVENT', 'CLASS', 'ATTEMPTS', 'REPLAYS', 'REPLAYED'];
        $rows = [];
        foreach ($letters as $letter) {
            $class = $letter['class'] ?? null;
            $rows[] = [
                Text::age($letter['failed_at'], $now),
                $letter['letter'],
                $letter['group'] ?? '-',
                $letter['event'] ?? '-',
                $class === null ? '-' : substr((string) strrchr("\\$class", '\\'), 1),
                (string) ($letter['attempts'] ?? '-'),
                (string) $letter['replays'],
                $letter['replayed_at'] === null ? '' : Text::age($letter['replayed_at'], $now) . ' ago',
            ];
        }
        $indent = str_repeat(' ', max(array_map(strlen(...), ['AGE', ...array_column($rows, 0)])) + 2);
        $lines = [];
        foreach (Table::lines(array_fill_keys($columns, Table::TEXT), $rows) as $i => $line) {
            $lines[] = $line;
            if ($i > 0) {
                $letter = $letters[$i - 1];
                $lines[] = $indent . Text::printable("{$letter['id']}  " . ($letter['message'] ?? 'no reason given'));
            }
        }

        return $width === 0 ? $lines
            : array_map(static fn (string $line): string => Text::shorten($line, $width), $lines);
    }
}
