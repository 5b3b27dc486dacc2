<?php

declare(strict_types=1);

namespace Toporia\Realtime\Support;

/**
 * Matches dotted names (channels, events) against patterns, by the rules of subscriptions. `*` matches one segment (no
 * dot), `**` any number of segments.
 *
 *     Pattern::matches('user.*', 'user.1');        // true
 *     Pattern::matches('user.*', 'user.1.orders'); // false
 *     Pattern::matches('user.**', 'user.1.orders'); // true
 */
final class Pattern
{
    /** True if the text contains a wildcard. */
    public static function isPattern(string $pattern): bool
    {
        return str_contains($pattern, '*');
    }

    /** True if the whole name matches. `*` needs at least one character, `**` may match none. */
    public static function matches(string $pattern, string $name): bool
    {
        if (!self::isPattern($pattern)) {
            return $pattern === $name;
        }
        $regex = strtr(preg_quote($pattern, '~'), ['\*\*' => '.*', '\*' => '[^.]+']);

        return preg_match("~\\A$regex\\z~s", $name) === 1;
    }

    /**
     * Selects the pattern for a name: an exact match, else the first pattern that matches.
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
