<?php

/**
 * Makes the ids of messages where the extension is not there to do it.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Support;

/**
 * UUID version 7 (RFC 9562): unique, and in the order of their making, also within one millisecond of one process.
 */
final class Uuid
{
    private static int $lastMs = 0;
    private static int $sequence = 0;

    /**
     * The next id, such as `019aa5c0-3b1e-7000-8c3f-2a9d51f0c7b4`.
     */
    public static function v7(): string
    {
        $ms = (int) (microtime(true) * 1000);
        if ($ms > self::$lastMs) {
            self::$lastMs = $ms;
            // Starts low, so that the 12 bits have room to count up within this millisecond.
            self::$sequence = random_int(0, 0x3ff);
        } elseif (++self::$sequence > 0xfff) {
            // Full, or the clock went back: borrow from the next millisecond rather than go out of order.
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
