<?php

/**
 * The table of the benchmark: a section per question, printed as soon as it is answered.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Bench;

final class Table
{
    private const FIRST = 44;
    private const OTHERS = 14;

    /**
     * @param list<string> $columns
     */
    public function section(string $title, array $columns): void
    {
        $width = self::FIRST + self::OTHERS * count($columns);
        echo "\n", self::line([$title, ...$columns]), str_repeat('-', $width), "\n";
    }

    /**
     * @param list<string> $cells
     */
    public function row(string $name, array $cells): void
    {
        echo self::line(["  $name", ...$cells]);
    }

    /**
     * @param list<string> $cells
     */
    private static function line(array $cells): string
    {
        $first = str_pad((string) array_shift($cells), self::FIRST);
        foreach ($cells as $cell) {
            // str_pad counts bytes, and µ has two.
            $first .= str_repeat(' ', max(1, self::OTHERS - mb_strlen($cell))) . $cell;
        }

        return rtrim($first) . "\n";
    }
}
