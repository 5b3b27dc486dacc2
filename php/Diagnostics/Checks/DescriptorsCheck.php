<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics\Checks;

use Toporia\Realtime\Diagnostics\Check;
use Toporia\Realtime\Diagnostics\Context;
use Toporia\Realtime\Diagnostics\Finding;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Worker\Text;

/**
 * Checks the limit of open files. Each client connection needs one descriptor, each broker two or three. The gateway
 * raises its limit to the hard limit.
 */
final class DescriptorsCheck extends Check
{
    public const NAME = 'descriptors';
    public const TITLE = 'This machine';
    private const MINIMUM = 1024;
    private const RESERVE = 1024;

    public function run(Context $context): iterable
    {
        $limits = function_exists('posix_getrlimit') ? posix_getrlimit() : false;
        if ($limits === false || !isset($limits['hard openfiles'])) {
            yield Finding::skipped('open files', 'limit unknown: PHP\'s posix extension is missing');

            return;
        }
        $soft = $this->number($limits['soft openfiles']);
        $hard = $this->number($limits['hard openfiles']);
        $facts = ['soft' => $limits['soft openfiles'], 'hard' => $limits['hard openfiles']];
        $sockets = self::sockets($context);
        $remedy = 'LimitNOFILE=65536 in the systemd unit, `ulimit -n 65536` in a shell, --ulimit nofile=65536 '
            . 'for Docker.';
        if ($soft < self::MINIMUM) {
            yield Finding::warning('open files', "a process may open $soft only", $remedy, $facts);
        } elseif ($sockets !== null && $hard < $sockets + self::RESERVE) {
            yield Finding::warning(
                'open files',
                'a process may open ' . Text::number($hard) . ', so a gateway accepts about '
                    . Text::number(max(0, $hard - self::RESERVE)) . ' browsers, not the ' . Text::number($sockets)
                    . ' of max_connections',
                $remedy . ' (This is the limit of this shell; a service has its own.)',
                $facts
            );
        } else {
            yield Finding::ok(
                'open files',
                'a process may open ' . ($hard === PHP_INT_MAX ? 'any number' : Text::number($hard)),
                $facts
            );
        }
    }

    /** The connections that a gateway accepts; null if none is configured. */
    private static function sockets(Context $context): ?int
    {
        if ($context->settings === []) {
            return null;
        }
        try {
            return $context->gateway()['max_connections'] ?? null;
        } catch (ConfigurationException) {
            // Told by GatewayCheck.
            return null;
        }
    }

    private function number(int|string $limit): int
    {
        return is_int($limit) ? $limit : PHP_INT_MAX;
    }
}
