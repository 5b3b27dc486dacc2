<?php

/**
 * Text for people: printable, short, with readable numbers.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

/**
 * What came over the wire never reaches a terminal with its control characters.
 */
final class Text
{
    /** Nesting of JSON that is read and written: data may have 512 levels, the envelope and our own line come on top. */
    public const DEPTH = 520;

    /**
     * The text with control characters and broken UTF-8 made visible.
     */
    public static function printable(string $text): string
    {
        $json = json_encode($text, JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES | JSON_INVALID_UTF8_SUBSTITUTE);
        $visible = strtr(substr((string) $json, 1, -1), ['\\"' => '"', '\\\\' => '\\']);

        return (string) preg_replace('/[\x7f]|\xc2[\x80-\x9f]/', '?', $visible);
    }

    /**
     * The first so many characters, with an ellipsis where something was cut.
     */
    public static function shorten(string $text, int $characters): string
    {
        preg_match('/\A.{0,' . max(0, $characters - 1) . '}/us', $text, $match);
        $cut = $match[0] ?? '';

        return strlen($cut) === strlen($text) || preg_match('/\A.{' . $characters . '}\z/us', $text) === 1
            ? $text
            : $cut . '…';
    }

    /**
     * `1,234,567`
     */
    public static function number(int|float $number): string
    {
        return number_format($number);
    }

    /**
     * `1 topic`, `2 topics`
     */
    public static function count(int $count, string $noun): string
    {
        return self::number($count) . ' ' . $noun . ($count === 1 ? '' : 's');
    }

    /**
     * `128.0 MB`
     */
    public static function bytes(int $bytes): string
    {
        return number_format($bytes / (1 << 20), 1) . ' MB';
    }
}
