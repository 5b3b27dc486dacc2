<?php

/**
 * Parses --retention, in the format of topic_mapping.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

use Toporia\Realtime\Worker\OptionValue;
use Toporia\Realtime\Worker\UsageError;

/**
 * `7d`, `12h`, `30min`, `60000` (ms), `-1` (unlimited).
 */
final class Retention
{
    private const UNITS = [
        '' => 1, 'ms' => 1, 's' => 1000, 'm' => 60_000, 'min' => 60_000, 'h' => 3_600_000, 'd' => 86_400_000,
        'w' => 604_800_000,
    ];

    /**
     * @return int|null ms; -1: unlimited; null: not given
     *
     * @throws UsageError not a time
     */
    public static function parse(mixed $given): ?int
    {
        $text = OptionValue::text('--retention', $given);
        if ($text === null || $text === '-1') {
            return $text === null ? null : -1;
        }
        if (preg_match('/\A([1-9]\d{0,11})\s*(ms|s|m|min|h|d|w|)\z/i', $text, $match) !== 1) {
            throw new UsageError(
                '--retention=' . OptionValue::shown($given) . ' is not a duration. Examples: --retention=7d, 12h, 30min, '
                . '60000 (ms), -1 (unlimited)'
            );
        }

        return (int) $match[1] * self::UNITS[strtolower($match[2])];
    }
}
