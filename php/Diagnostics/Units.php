<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

use Toporia\Realtime\Worker\Text;

/**
 * Formats times, rates and retention. Short enough for table columns.
 */
final class Units
{
    /**
     * Formats seconds in at most two units: `4 s`, `2 min`, `3 h 20 min`, `5 d`.
     */
    public static function seconds(float $seconds): string
    {
        if ($seconds < 1.0) {
            return '< 1 s';
        }
        $left = (int) ceil($seconds);
        $words = [];
        foreach (['d' => 86400, 'h' => 3600, 'min' => 60, 's' => 1] as $unit => $size) {
            if ($left >= $size) {
                $words[] = Text::number(intdiv($left, $size)) . " $unit";
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

    /**
     * Formats records per second: `0`, `0.4`, `17`, `1,204`.
     */
    public static function rate(float $perSecond): string
    {
        return $perSecond > 0.0 && $perSecond < 9.95
            ? rtrim(rtrim(number_format(max($perSecond, 0.1), 1), '0'), '.')
            : Text::number(round($perSecond));
    }

    /**
     * Formats a retention time in ms: `7 d`, `unlimited`.
     */
    public static function retention(int $ms): string
    {
        return match (true) {
            $ms < 0 => 'unlimited',
            $ms < 1000 => "$ms ms",
            default => self::seconds($ms / 1000),
        };
    }
}
