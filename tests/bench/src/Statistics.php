<?php

/**
 * Computes medians and percentiles.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Bench;

final class Statistics
{
    /**
     * @param non-empty-list<float> $values
     */
    public static function median(array $values): float
    {
        sort($values);
        $middle = intdiv(count($values), 2);

        return count($values) % 2 === 1 ? $values[$middle] : ($values[$middle - 1] + $values[$middle]) / 2;
    }

    /**
     * The smallest value that this percentage does not exceed.
     *
     * @param non-empty-list<float> $values
     */
    public static function percentile(array $values, int $of100): float
    {
        sort($values);

        return $values[max(0, (int) ceil(count($values) * $of100 / 100) - 1)];
    }
}
