<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

use Toporia\Realtime\Worker\Text;

/**
 * Formats a table whose columns fit their content and the terminal. If the terminal is too narrow, the widest text
 * columns are shortened first, down to a minimum.
 */
final class Table
{
    /** A left-aligned text column; may be shortened. */
    public const TEXT = 'text';
    /** A right-aligned number column; never shortened. */
    public const NUMBER = 'number';

    private const GAP = '  ';
    private const MIN_WIDTH = 12;

    /**
     * @param array<string, self::*> $columns type by heading
     * @param list<list<string>> $rows
     * @param int $width maximum line length, in characters; 0: no limit
     *
     * @return list<string> headings first
     */
    public static function lines(array $columns, array $rows, int $width = 0): array
    {
        $rows = array_map(static fn (array $row): array => array_map(Text::printable(...), $row), $rows);
        array_unshift($rows, array_keys($columns));
        [$kinds, $rows] = self::used(array_values($columns), $rows);
        $widths = self::fit(self::widths($rows), $kinds, $width);
        $lines = [];
        foreach ($rows as $row) {
            $cells = [];
            foreach ($row as $column => $text) {
                $text = Text::shorten($text, $widths[$column]);
                $blank = str_repeat(' ', $widths[$column] - self::length($text));
                $cells[] = $kinds[$column] === self::NUMBER ? $blank . $text : $text . $blank;
            }
            $line = rtrim(implode(self::GAP, $cells));
            $lines[] = $width > 0 ? Text::shorten($line, $width) : $line;
        }

        return $lines;
    }

    /**
     * Removes columns that are empty in every row.
     *
     * @param list<string> $kinds
     * @param non-empty-list<list<string>> $rows
     *
     * @return array{list<string>, non-empty-list<list<string>>}
     */
    private static function used(array $kinds, array $rows): array
    {
        $body = array_slice($rows, 1);
        foreach (array_keys($kinds) as $column) {
            if ($body !== [] && implode('', array_column($body, $column)) === '') {
                unset($kinds[$column]);
                foreach ($rows as &$row) {
                    unset($row[$column]);
                }
                unset($row);
            }
        }

        return [array_values($kinds), array_map('array_values', $rows)];
    }

    /**
     * @param non-empty-list<list<string>> $rows
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

        return array_values($widths);
    }

    /**
     * @param list<int> $widths
     * @param list<string> $kinds
     *
     * @return list<int>
     */
    private static function fit(array $widths, array $kinds, int $width): array
    {
        if ($width === 0) {
            return $widths;
        }
        $over = array_sum($widths) + strlen(self::GAP) * (count($widths) - 1) - $width;
        while ($over > 0) {
            $widest = null;
            foreach ($widths as $column => $wide) {
                $gives = $kinds[$column] === self::TEXT && $wide > self::MIN_WIDTH;
                if ($gives && ($widest === null || $wide > $widths[$widest])) {
                    $widest = $column;
                }
            }
            if ($widest === null) {
                break;
            }
            $widths[$widest]--;
            $over--;
        }

        return array_values($widths);
    }

    private static function length(string $text): int
    {
        return (int) preg_match_all('/./us', $text);
    }
}
