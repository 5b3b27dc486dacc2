<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics\Checks;

use Toporia\Realtime\Diagnostics\Check;
use Toporia\Realtime\Diagnostics\Context;
use Toporia\Realtime\Diagnostics\Finding;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Support\HttpRequest;

/** Checks if a gateway runs on this machine and is ready. */
final class GatewayRunningCheck extends Check
{
    public const NAME = 'gateway-running';
    public const TITLE = 'Gateway';
    public const NEEDS = ['configuration'];

    public function run(Context $context): iterable
    {
        try {
            $settings = $context->gateway();
        } catch (ConfigurationException) {
            // Told by GatewayCheck.
            return;
        }
        if ($settings === null) {
            return;
        }
        $public = HttpRequest::reachable($settings['host'] . ':' . $settings['port']);
        $ops = $settings['ops_listen'] === null ? null : HttpRequest::reachable($settings['ops_listen']);
        [$status, $body] = HttpRequest::probe($ops ?? $public, $ops === null ? '/up' : '/ready', $context->options->timeout);
        $at = 'http://' . ($ops ?? $public) . ($ops === null ? '/up' : '/ready');
        $facts = ['address' => $ops ?? $public, 'status' => $status];
        if ($status === 200) {
            yield Finding::ok('running gateway', $ops === null ? "responds at $at" : "is ready ($at)", $facts);
        } elseif ($status === 503) {
            yield Finding::error(
                'running gateway',
                $body === '' ? 'is not ready' : $body,
                'Load balancers send no clients to it. If Kafka is the cause, fix that first (see above); it '
                    . 'becomes ready automatically.',
                $facts
            );
        } elseif ($status !== null) {
            yield Finding::error(
                'running gateway',
                "another program responds at $at (HTTP $status)",
                'Use another address for the gateway (REALTIME_GATEWAY_PORT, REALTIME_OPS_LISTEN), or stop the '
                    . 'program that uses it: `ss -ltnp` names it.',
                $facts
            );
        } elseif ($ops !== null && HttpRequest::probe($public, '/up', $context->options->timeout)[0] === 200) {
            yield Finding::warning(
                'running gateway',
                "serves $public, but its operations listener does not respond at $ops",
                'Was it started with another REALTIME_OPS_LISTEN? Restart it with this configuration.',
                $facts
            );
        } else {
            yield Finding::warning(
                'running gateway',
                "none on this machine: nothing responds at $at",
                'If one should run here: start realtime:gateway, or check why its supervisor does not keep it running. '
                    . 'On a machine that only serves pages this is normal.',
                $facts
            );
        }
    }
}
