<?php

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

/**
 * Formats text for output: printable, short, with readable numbers. Received data never reaches a terminal with its
 * control characters.
 */
final class Text
{
    private const NAMES_SHOWN = 4;

    /** Nesting depth for JSON: data may have 512 levels, plus the envelope and our own line. */
    public const DEPTH = 520;

    /** Escapes control characters and invalid UTF-8. */
    public static function printable(string $text): string
    {
        $json = json_encode($text, JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES | JSON_INVALID_UTF8_SUBSTITUTE);
        $visible = strtr(substr((string) $json, 1, -1), ['\\"' => '"', '\\\\' => '\\']);

        return (string) preg_replace('/[\x7f]|\xc2[\x80-\x9f]/', '?', $visible);
    }

    /**
     * One JSON object on a line; a part that cannot be encoded is replaced.
     *
     * @param array<string, mixed> $object
     */
    public static function json(array $object, int $flags = 0): string
    {
        $flags |= JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE | JSON_INVALID_UTF8_SUBSTITUTE
            | JSON_PARTIAL_OUTPUT_ON_ERROR;

        return (string) json_encode($object, $flags, self::DEPTH);
    }

    /** Cuts a text to a number of characters, with an ellipsis. */
    public static function shorten(string $text, int $characters): string
    {
        preg_match('/\A.{0,' . max(0, $characters - 1) . '}/us', $text, $match);
        $cut = $match[0] ?? '';

        return strlen($cut) === strlen($text) || preg_match('/\A.{' . $characters . '}\z/us', $text) === 1
            ? $text
            : $cut . '…';
    }

    /** `1,234,567` */
    public static function number(int|float $number): string
    {
        return number_format($number);
    }

    /** Formats a count with its noun: `1 topic`, `2 topics`. */
    public static function count(int $count, string $noun): string
    {
        return self::number($count) . ' ' . $noun . ($count === 1 ? '' : 's');
    }

    /** Formats bytes in megabytes: `128.0 MB`. */
    public static function bytes(int $bytes): string
    {
        return number_format($bytes / (1 << 20), 1) . ' MB';
    }

    /** Formats seconds in at most two units: `4 s`, `2 min`, `3 h 20 min`, `5 d`. */
    public static function seconds(float $seconds): string
    {
        if ($seconds < 1.0) {
            return '< 1 s';
        }
        $left = (int) ceil($seconds);
        $words = [];
        foreach (['d' => 86400, 'h' => 3600, 'min' => 60, 's' => 1] as $unit => $size) {
            if ($left >= $size) {
                $words[] = self::number(intdiv($left, $size)) . " $unit";
                $left %= $size;
            } elseif ($words !== []) {
                break;
            }
            if (count($words) === 2) {
                break;
            }
        }

        return implode(' ', $words);
    }

    /** Formats records per second: `0`, `0.4`, `17`, `1,204`. */
    public static function rate(float $perSecond): string
    {
        return $perSecond > 0.0 && $perSecond < 9.95
            ? rtrim(rtrim(number_format(max($perSecond, 0.1), 1), '0'), '.')
            : self::number(round($perSecond));
    }

    /** Formats a retention time in ms: `7 d`, `unlimited`. */
    public static function retention(int $ms): string
    {
        return match (true) {
            $ms < 0 => 'unlimited',
            $ms < 1000 => "$ms ms",
            default => self::seconds($ms / 1000),
        };
    }

    /** The time elapsed, in a single unit: `5s`, `3m`, `2h`, `4d`. */
    public static function age(int $then, int $now): string
    {
        $seconds = max(0, $now - $then);
        foreach (['d' => 86400, 'h' => 3600, 'm' => 60] as $unit => $size) {
            if ($seconds >= $size) {
                return intdiv($seconds, $size) . $unit;
            }
        }

        return $seconds . 's';
    }

    /**
     * Formats names as `a, b, c, d and 12 more`.
     *
     * @param list<string> $names
     */
    public static function names(array $names): string
    {
        $more = count($names) - self::NAMES_SHOWN;
        $shown = implode(', ', array_slice($names, 0, self::NAMES_SHOWN));

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

    /**
     * Formats partitions as `realtime_user_1 [0-3], realtime_user_2 [1]`.
     *
     * @param array<int, array{topic: string, partition: int}> $partitions
     */
    public static function partitions(array $partitions): string
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
            $parts[] = 'and ' . self::count(count($topics) - count($parts), 'more topic');
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
