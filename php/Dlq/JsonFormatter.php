<?php

declare(strict_types=1);

namespace Toporia\Realtime\Dlq;

/**
 * Pretty-prints JSON text token by token. Long numbers, repeated names and `1.0` are kept as they were sent; decoding
 * and encoding would change them.
 */
final class JsonFormatter
{
    private const SPACE = " \t\n\r";

    /**
     * The formatted lines; null if the text is not valid JSON.
     *
     * @return list<string>|null
     */
    public static function lines(string $json): ?array
    {
        json_decode($json, false, 2048);
        if (json_last_error() !== JSON_ERROR_NONE) {
            return null;
        }
        $lines = [];
        $line = $before = '';
        $depth = 0;
        foreach (self::tokens($json) as $token) {
            $closes = $token === '}' || $token === ']';
            $depth -= $closes ? 1 : 0;
            $opened = $before === '{' || $before === '[';
            // Empty arrays and objects stay on one line.
            if ($closes ? !$opened : $opened || $before === ',') {
                $lines[] = $line;
                $line = str_repeat('  ', $depth);
            }
            $depth += $token === '{' || $token === '[' ? 1 : 0;
            $line .= match (true) {
                $token === ':' => ': ',
                $token[0] === '"' => self::readable($token),
                default => $token,
            };
            $before = $token;
        }

        return [...$lines, $line];
    }

    /**
     * The tokens of valid JSON.
     *
     * @return iterable<string>
     */
    private static function tokens(string $json): iterable
    {
        $length = strlen($json);
        for ($at = strspn($json, self::SPACE); $at < $length; $at = $end + strspn($json, self::SPACE, $end)) {
            $end = match (true) {
                $json[$at] === '"' => self::endOfString($json, $at + 1),
                str_contains('{}[]:,', $json[$at]) => $at + 1,
                default => $at + strcspn($json, '{}[]:,' . self::SPACE, $at),
            };
            yield substr($json, $at, $end - $at);
        }
    }

    private static function endOfString(string $json, int $at): int
    {
        // A regular expression would exhaust its stack on a long string with many escapes.
        while ($json[$at += strcspn($json, '"\\', $at)] === '\\') {
            $at += 2;
        }

        return $at + 1;
    }

    /** Replaces escaped letters by the letters; control characters stay escaped. */
    private static function readable(string $token): string
    {
        $text = json_encode(json_decode($token), JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES);

        return $text === false ? $token : $text;
    }
}
