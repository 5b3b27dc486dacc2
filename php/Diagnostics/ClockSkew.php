<?php

/**
 * Evaluates the difference between two clocks.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

final class ClockSkew
{
    private const WARNING_SECONDS = 2.0;
    private const ERROR_SECONDS = 300.0;

    /**
     * @param float $behind seconds that this machine's clock is behind the other one; negative: ahead
     * @param string $whose owner of the other clock: `the cluster's controller`
     * @param bool $exact false: the other time is in whole seconds
     */
    public static function finding(float $behind, string $whose, bool $exact = true): Finding
    {
        $off = abs($behind);
        $facts = ['behind_seconds' => round($behind, 3)];
        if ($off < self::WARNING_SECONDS) {
            $within = $exact ? 'to ' . max(1, (int) round($off * 1000)) . ' ms' : 'within two seconds';

            return Finding::ok('clock', "agrees with $whose ($within)", $facts);
        }
        $text = 'this machine is ' . self::words($off) . ($behind > 0 ? ' behind ' : ' ahead of ') . $whose;
        $remedy = 'Compare `date -u` on both machines; on the wrong one: `timedatectl set-ntp true` (chrony or '
            . 'systemd-timesyncd).';

        return $off < self::ERROR_SECONDS
            ? Finding::warning('clock', $text, $remedy, $facts)
            : Finding::error(
                'clock',
                "$text: retention, --from times, signatures and certificates are unreliable",
                $remedy,
                $facts
            );
    }

    private static function words(float $seconds): string
    {
        return match (true) {
            $seconds < 120 => sprintf('%.1f s', $seconds),
            $seconds < 7200 => sprintf('%.0f minutes', $seconds / 60),
            default => sprintf('%.1f hours', $seconds / 3600),
        };
    }
}
