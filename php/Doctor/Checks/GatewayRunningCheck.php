<?php

/**
 * Checks if a gateway runs on this machine and is ready.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Doctor\Checks;

use Toporia\Realtime\Doctor\Check;
use Toporia\Realtime\Doctor\Context;
use Toporia\Realtime\Doctor\Finding;
use Toporia\Realtime\Doctor\GatewaySettings;
use Toporia\Realtime\Doctor\HttpProbe;

final class GatewayRunningCheck implements Check
{
    public function name(): string
    {
        return 'gateway-running';
    }

    public function title(): string
    {
        return 'Gateway';
    }

    public function needs(): array
    {
        return [];
    }

    public function run(Context $context): iterable
    {
        $settings = new GatewaySettings($context->config);
        if (!$settings->isConfigured()) {
            return;
        }
        $public = HttpProbe::reachable($settings->host() . ':' . $settings->port());
        $ops = $settings->ops() === null ? null : HttpProbe::reachable($settings->ops());
        [$status, $body] = HttpProbe::get($ops ?? $public, $ops === null ? '/up' : '/ready', $context->options->timeout);
        $at = 'http://' . ($ops ?? $public) . ($ops === null ? '/up' : '/ready');
        $facts = ['address' => $ops ?? $public, 'status' => $status];
        if ($status === 200) {
            yield Finding::ok('running gateway', $ops === null ? "answers at $at" : "is ready ($at)", $facts);
        } elseif ($status === 503) {
            yield Finding::error(
                'running gateway',
                $body === '' ? 'is not ready' : $body,
                'Load balancers send it nobody. Where Kafka is the reason, mend that first (the lines above); it '
                    . 'becomes ready by itself.',
                $facts
            );
        } elseif ($status !== null) {
            yield Finding::error(
                'running gateway',
                "something else answers at $at (HTTP $status)",
                'Give the gateway another address (REALTIME_GATEWAY_PORT, REALTIME_OPS_LISTEN), or end what took '
                    . 'it: `ss -ltnp` names it.',
                $facts
            );
        } elseif ($ops !== null && HttpProbe::get($public, '/up', $context->options->timeout)[0] === 200) {
            yield Finding::warning(
                'running gateway',
                "serves $public, but its operations listener does not answer at $ops",
                'Was it started with another REALTIME_OPS_LISTEN? Restart it with this configuration.',
                $facts
            );
        } else {
            yield Finding::warning(
                'running gateway',
                "none on this machine: nothing answers at $at",
                'Where one should run: realtime:gateway, or look at why its supervisor does not keep it running. '
                    . 'On a machine that only serves pages this is in order.',
                $facts
            );
        }
    }
}
