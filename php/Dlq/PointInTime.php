<?php

declare(strict_types=1);

namespace Toporia\Realtime\Dlq;

use DateTimeInterface;
use Toporia\Realtime\Worker\FromPosition;
use Toporia\Realtime\Worker\OptionValue;
use Toporia\Realtime\Worker\UsageError;

/**
 * Parses --since and --before: a time, or a duration ago. `90s`, `15m`, `2h`, `7d`, an ISO 8601 time, or Unix seconds.
 */
final class PointInTime
{
    private const SECONDS = ['s' => 1, 'm' => 60, 'h' => 3600, 'd' => 86400];

    /**
     * The time in Unix seconds; null if the option was not given.
     *
     * @param string $option the option's name, with dashes: `--since`
     * @param int $now Unix seconds
     *
     * @throws UsageError not a time
     */
    public static function parse(string $option, mixed $value, int $now): ?int
    {
        $text = OptionValue::text($option, $value);
        if ($text === null) {
            return null;
        }
        if (preg_match('/\A(\d{1,7})([smhd])\z/i', $text, $match) === 1) {
            return $now - (int) $match[1] * self::SECONDS[strtolower($match[2])];
        }
        try {
            $position = FromPosition::parse($text)->position();
        } catch (UsageError) {
            $position = null;
        }
        if ($position instanceof DateTimeInterface) {
            return $position->getTimestamp();
        }
        throw new UsageError(
            "$option=" . OptionValue::shown($value) . ' is not a time. Expected a duration ago (90s, 15m, 2h, '
                . '7d), an ISO 8601 time such as 2026-01-31T08:00:00Z, or Unix seconds.'
        );
    }

    /**
     * The time elapsed, in a single unit: `5s`, `3m`, `2h`, `4d`.
     */
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
}
