<?php

declare(strict_types=1);

namespace Toporia\Realtime\Support;

/**
 * Generates message ids when the extension is not loaded. UUID version 7 (RFC 9562): unique, and increasing within a
 * process even in the same millisecond.
 */
final class Uuid
{
    private static int $lastMs = 0;
    private static int $sequence = 0;

    /** Generates an id such as `019aa5c0-3b1e-7000-8c3f-2a9d51f0c7b4`. */
    public static function v7(): string
    {
        $ms = (int) (microtime(true) * 1000);
        if ($ms > self::$lastMs) {
            self::$lastMs = $ms;
            // Start low, so that the 12-bit counter has room within this millisecond.
            self::$sequence = random_int(0, 0x3ff);
        } elseif (++self::$sequence > 0xfff) {
            // Counter exhausted, or the clock went back: borrow from the next millisecond to stay increasing.
            self::$lastMs++;
            self::$sequence = 0;
        }
        $random = random_bytes(8);
        $random[0] = chr(ord($random[0]) & 0x3f | 0x80);
        $hex = sprintf('%012x7%03x%s', self::$lastMs, self::$sequence, bin2hex($random));

        return implode('-', [
            substr($hex, 0, 8),
            substr($hex, 8, 4),
            substr($hex, 12, 4),
            substr($hex, 16, 4),
            substr($hex, 20),
        ]);
    }
}
