<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics\Checks;

use Toporia\Realtime\Diagnostics\Check;
use Toporia\Realtime\Diagnostics\Context;
use Toporia\Realtime\Diagnostics\Finding;
use Toporia\Realtime\Diagnostics\GatewaySettings;
use Toporia\Realtime\Exception\RealtimeException;
use Toporia\Realtime\Gateway;

/** Checks the gateway's credentials and listeners. */
final class GatewayCheck extends Check
{
    public const NAME = 'gateway';
    public const TITLE = 'Gateway';
    private const MIN_SECRET_LENGTH = 32;

    public function run(Context $context): iterable
    {
        $settings = new GatewaySettings($context->config);
        if (!$settings->isConfigured()) {
            yield Finding::skipped('gateway', 'not configured (REALTIME_APP_ID, REALTIME_APP_KEY, '
                . 'REALTIME_APP_SECRET)');

            return;
        }
        $faults = 0;
        foreach ([...$this->keys($context, $settings), ...$this->listeners($settings)] as $finding) {
            $faults++;
            yield $finding;
        }
        if ($faults === 0) {
            $origins = count($settings->texts('allowed_origins'));
            yield Finding::ok(
                'gateway',
                'key and secret are valid; listens on ' . $settings->host() . ':' . $settings->port()
                . ', ' . ($origins === 0 ? 'any origin' : ($origins === 1 ? 'one origin' : "$origins origins")) . ', operations on '
                . ($settings->ops() ?? 'nothing')
            );
        }
    }

    /** @return list<Finding> */
    private function keys(Context $context, GatewaySettings $settings): array
    {
        $findings = [];
        if ($settings->texts('app_id') === []) {
            $findings[] = Finding::error(
                'gateway',
                'has no app id',
                'Set REALTIME_APP_ID (gateway.app_id) to letters and digits, such as the name of the application; '
                    . 'use the same for the gateway and for pages.'
            );
        }
        if ($context->hasExtension() && $context->blocked('configuration') === null) {
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
        } elseif (strlen($settings->text('secrets', '')) < self::MIN_SECRET_LENGTH) {
            $findings[] = Finding::error(
                'gateway',
                'the secret is shorter than 32 characters',
                'Set REALTIME_APP_SECRET to the output of `openssl rand -hex 32`.'
            );
        }

        return $findings;
    }

    /** @return list<Finding> */
    private function listeners(GatewaySettings $settings): array
    {
        $findings = [];
        $origins = $settings->texts('allowed_origins');
        foreach ($origins as $origin) {
            if (preg_match('~\A(\*|https?://(\*\.)?[^/\s*]+)\z~i', $origin) !== 1) {
                $findings[] = Finding::error(
                    'gateway',
                    "the allowed origin '$origin' matches no browser: an origin consists of scheme, host and port",
                    'Use the format of browsers, without a path: https://'
                        . preg_replace('~\A\w+://|/.*\z~', '', $origin)
                );
            }
        }
        $public = !GatewaySettings::isLoopback($settings->host());
        if ($public && $origins === []) {
            $findings[] = Finding::warning(
                'gateway',
                "listens on {$settings->host()} and accepts browsers from any web page",
                'Set REALTIME_ALLOWED_ORIGINS (gateway.allowed_origins) to the origins of your pages: '
                    . 'https://shop.example'
            );
        }
        if ($public && $settings->texts('trusted_proxies') === []) {
            $findings[] = Finding::warning(
                'gateway',
                "listens on {$settings->host()} directly, without TLS: keys and messages of browsers that connect "
                    . 'directly can be read in transit',
                'Let nginx terminate TLS (docs/gateway.md), listen on 127.0.0.1, or set the proxy '
                    . 'in REALTIME_TRUSTED_PROXIES (gateway.trusted_proxies).'
            );
        }
        $ops = $settings->ops();
        if ($ops !== null && !GatewaySettings::isLoopback(substr($ops, 0, (int) strrpos($ops, ':')))) {
            $findings[] = Finding::warning(
                'gateway',
                "the operations listener ($ops) can be reached from outside: /metrics needs no password",
                'Set REALTIME_OPS_LISTEN to 127.0.0.1:6900, or allow only Prometheus in the firewall.'
            );
        }

        return $findings;
    }
}
