<?php

/**
 * Matches names with segments (channels, events) against patterns, as the extension does for subscriptions.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Support;

/**
 * `*` stands for one segment (no dot), `**` for any number of them.
 *
 *     Pattern::matches('user.*', 'user.1');        // true
 *     Pattern::matches('user.*', 'user.1.orders'); // false
 *     Pattern::matches('user.**', 'user.1.orders'); // true
 */
final class Pattern
{
    /**
     * Whether the text has a wildcard at all.
     */
    public static function isPattern(string $pattern): bool
    {
        return str_contains($pattern, '*');
    }

    /**
     * Whether the whole name fits the pattern. `*` needs at least one character, `**` none.
     */
    public static function matches(string $pattern, string $name): bool
    {
        if (!self::isPattern($pattern)) {
            return $pattern === $name;
        }
        $regex = strtr(preg_quote($pattern, '~'), ['\*\*' => '.*', '\*' => '[^.]+']);

        return preg_match("~\\A$regex\\z~s", $name) === 1;
    }

    /**
     * Picks among patterns the one that gets a name: the exact one, else the first that fits.
     *
     * @param iterable<int|string, string> $patterns
     */
    public static function pick(iterable $patterns, string $name): ?string
    {
        $first = null;
        foreach ($patterns as $pattern) {
            if ($pattern === $name) {
                return $pattern;
            }
            if ($first === null && self::isPattern($pattern) && self::matches($pattern, $name)) {
                $first = $pattern;
            }
        }

        return $first;
    }
}
