<?php

/**
 * Formats lists of names, shortened.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

final class NameList
{
    private const SHOWN = 4;

    /**
     * Formats names as `a, b, c, d and 12 more`.
     *
     * @param list<string> $names
     */
    public static function short(array $names): string
    {
        $more = count($names) - self::SHOWN;
        $shown = implode(', ', array_slice($names, 0, self::SHOWN));

        return $more > 0 ? "$shown and $more more" : $shown;
    }

    /**
     * The most similar name, as a suggestion.
     *
     * @param list<string> $names
     */
    public static function nearest(string $name, array $names): ?string
    {
        $best = null;
        $least = 3;
        foreach ($names as $candidate) {
            $distance = strlen($candidate) < 256 && strlen($name) < 256 ? levenshtein($name, $candidate) : $least;
            if ($distance < $least) {
                [$best, $least] = [$candidate, $distance];
            }
        }

        return $best;
    }
}
