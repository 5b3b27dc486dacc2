<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics\Checks;

use Toporia\Realtime\Diagnostics\Check;
use Toporia\Realtime\Diagnostics\Context;
use Toporia\Realtime\Diagnostics\Finding;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\RealtimeException;
use Toporia\Realtime\Gateway;

/** Checks the gateway's credentials and listeners. */
final class GatewayCheck extends Check
{
    public const NAME = 'gateway';
    public const TITLE = 'Gateway';
    public const NEEDS = ['configuration'];

    public function run(Context $context): iterable
    {
        try {
            $settings = $context->gateway();
        } catch (ConfigurationException $e) {
            yield Finding::error('gateway', $e->getMessage(), 'Correct this setting. Until then no gateway starts.');

            return;
        }
        if ($settings === null) {
            yield Finding::skipped('gateway', 'not configured (REALTIME_APP_ID, REALTIME_APP_KEY, '
                . 'REALTIME_APP_SECRET)');

            return;
        }
        $faults = 0;
        foreach ([...$this->keys($settings['app_id']), ...$this->listeners($settings)] as $finding) {
            $faults++;
            yield $finding;
        }
        if ($faults === 0) {
            $origins = count($settings['allowed_origins']);
            yield Finding::ok(
                'gateway',
                "key and secret are valid; listens on {$settings['host']}:{$settings['port']}"
                . ', ' . ($origins === 0 ? 'any origin' : ($origins === 1 ? 'one origin' : "$origins origins")) . ', operations on '
                . ($settings['ops_listen'] ?? 'nothing')
            );
        }
    }

    /** @return list<Finding> */
    private function keys(string $appId): array
    {
        $findings = [];
        if ($appId === '') {
            $findings[] = Finding::error(
                'gateway',
                'has no app id',
                'Set REALTIME_APP_ID (gateway.app_id) to letters and digits, such as the name of the application; '
                    . 'use the same for the gateway and for pages.'
            );
        }
        try {
            // Test signing with a socket id that no client can have.
            Gateway::authorize('1.1', 'private-realtime-doctor');
        } catch (RealtimeException $e) {
            $findings[] = Finding::error(
                'gateway',
                $e->getMessage(),
                str_contains($e->getMessage(), 'secret')
                ? 'Set REALTIME_APP_SECRET (gateway.secret) to the output of `openssl rand -hex 32`, the same for '
                    . 'the gateway and for pages, then restart both (realtime:restart, php-fpm).'
                : 'Set REALTIME_APP_KEY (gateway.key), the same for the gateway, for pages and in the browser.'
            );
        }

        return $findings;
    }

    /**
     * @param array<string, mixed> $settings of Gateway::configuration()
     *
     * @return list<Finding>
     */
    private function listeners(array $settings): array
    {
        $findings = [];
        $public = !self::isLoopback($settings['host']);
        if ($public && $settings['allowed_origins'] === []) {
            $findings[] = Finding::warning(
                'gateway',
                "listens on {$settings['host']} and accepts browsers from any web page",
                'Set REALTIME_ALLOWED_ORIGINS (gateway.allowed_origins) to the origins of your pages: '
                    . 'https://shop.example'
            );
        }
        if ($public && $settings['trusted_proxies'] === []) {
            $findings[] = Finding::warning(
                'gateway',
                "listens on {$settings['host']} directly, without TLS: keys and messages of browsers that connect "
                    . 'directly can be read in transit',
                'Let nginx terminate TLS (docs/gateway.md), listen on 127.0.0.1, or set the proxy '
                    . 'in REALTIME_TRUSTED_PROXIES (gateway.trusted_proxies).'
            );
        }
        $ops = $settings['ops_listen'];
        if ($ops !== null && !self::isLoopback(substr($ops, 0, (int) strrpos($ops, ':')))) {
            $findings[] = Finding::warning(
                'gateway',
                "the operations listener ($ops) can be reached from outside: /metrics needs no password",
                'Set REALTIME_OPS_LISTEN to 127.0.0.1:6900, or allow only Prometheus in the firewall.'
            );
        }

        return $findings;
    }

    /**
     * True if the address can only be reached from this machine.
     */
    private static function isLoopback(string $host): bool
    {
        $host = trim($host, '[]');

        return $host === 'localhost' || $host === '::1' || str_starts_with($host, '127.');
    }
}
