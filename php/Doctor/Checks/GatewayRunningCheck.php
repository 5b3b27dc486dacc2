<?php

/**
 * Does a gateway run here, and is it ready?
 */

declare(strict_types=1);

namespace Toporia\Realtime\Doctor\Checks;

use Toporia\Realtime\Doctor\Check;
use Toporia\Realtime\Doctor\Context;
use Toporia\Realtime\Doctor\Finding;
use Toporia\Realtime\Doctor\GatewaySettings;

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
        $host = str_replace(['0.0.0.0', '[::]', '::'], ['127.0.0.1', '[::1]', '[::1]'], $settings->host());
        $public = $host . ':' . $settings->port();
        $ops = $settings->ops() === null ? null : str_replace(['0.0.0.0', '[::]'], ['127.0.0.1', '[::1]'], $settings->ops());
        [$status, $body] = $this->get($ops ?? $public, $ops === null ? '/up' : '/ready', $context->options->timeout);
        $at = 'http://' . ($ops ?? $public) . ($ops === null ? '/up' : '/ready');
        $facts = ['address' => $ops ?? $public, 'status' => $status];
        if ($status === 200) {
            yield Finding::good('running gateway', $ops === null ? "answers at $at" : "is ready ($at)", $facts);
        } elseif ($status === 503) {
            yield Finding::bad(
                'running gateway',
                trim($body) === '' ? 'is not ready' : trim($body),
                'Load balancers send it nobody. Where Kafka is the reason, mend that first (the lines above); it '
                    . 'becomes ready by itself.',
                $facts
            );
        } elseif ($status !== null) {
            yield Finding::bad(
                'running gateway',
                "something else answers at $at (HTTP $status)",
                'Give the gateway another address (REALTIME_GATEWAY_PORT, REALTIME_OPS_LISTEN), or end what took '
                    . 'it: `ss -ltnp` names it.',
                $facts
            );
        } elseif ($ops !== null && $this->get($public, '/up', $context->options->timeout)[0] === 200) {
            yield Finding::doubtful(
                'running gateway',
                "serves $public, but its operations listener does not answer at $ops",
                'Was it started with another REALTIME_OPS_LISTEN? Restart it with this configuration.',
                $facts
            );
        } else {
            yield Finding::doubtful(
                'running gateway',
                "none on this machine: nothing answers at $at",
                'Where one should run: realtime:gateway, or look at why its supervisor does not keep it running. '
                    . 'On a machine that only serves pages this is in order.',
                $facts
            );
        }
    }

    /** @return array{?int, string} status and body; null: nothing answers */
    private function get(string $address, string $path, float $timeout): array
    {
        $context = stream_context_create(['http' => ['timeout' => $timeout, 'ignore_errors' => true, 'follow_location' => 0]]);
        $body = @file_get_contents("http://$address$path", false, $context, 0, 4096);
        // What PHP leaves in this scope.
        $head = $http_response_header ?? [];
        if ($body === false || preg_match('~\AHTTP/\S+ (\d{3})~', $head[0] ?? '', $match) !== 1) {
            return [null, ''];
        }

        return [(int) $match[1], $body];
    }
}
