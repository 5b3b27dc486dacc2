<?php

/**
 * Gateways of a test: one configuration with a random secret, for this process and its children, and connected
 * browsers.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Gateway;

use PHPUnit\Framework\Attributes\After;
use PHPUnit\Framework\Attributes\Before;
use Toporia\Realtime\Gateway;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Tests\Support\PusherClient;

/**
 * Used by test cases on BrokerTestCase.
 */
trait RunsGateways
{
    /** The application's secret, unique to this test. */
    protected string $secret = '';
    /** @var list<Gateway> */
    private array $gateways = [];

    /** @before */
    #[Before]
    protected function makeSecret(): void
    {
        $this->secret = bin2hex(random_bytes(16));
    }

    /** @after */
    #[After]
    protected function stopGateways(): void
    {
        foreach ($this->gateways as $gateway) {
            $gateway->stop(0);
        }
        $this->gateways = [];
    }

    /**
     * The base configuration of this test's gateways.
     *
     * @param array<string, mixed> $over
     *
     * @return array<string, mixed>
     */
    protected function settings(array $over = []): array
    {
        return $over + [
            'app_id' => 'shop',
            'key' => 'shop-key',
            'secrets' => [$this->secret],
            'port' => 0,
            'ops_listen' => 'off',
            'max_connections' => 1000,
            'broker' => $this->config(),
        ];
    }

    /**
     * The same as environment variables, for children.
     *
     * @return array<string, string|null>
     */
    protected function childEnvironment(): array
    {
        return [
            'REALTIME_APP_ID' => 'shop',
            'REALTIME_APP_KEY' => 'shop-key',
            'REALTIME_APP_SECRET' => $this->secret,
            'REALTIME_GATEWAY_PORT' => '0',
            'REALTIME_OPS_LISTEN' => 'off',
        ] + parent::childEnvironment();
    }

    /**
     * A running gateway; stopped at the end of the test.
     *
     * @param array<string, mixed> $over settings
     */
    protected function gateway(array $over = []): Gateway
    {
        return $this->gateways[] = (new Gateway($this->settings($over)))->start();
    }

    /**
     * A browser that is connected to the gateway.
     *
     * @param array<string, mixed> $over settings that differ
     */
    protected function client(Gateway|string $gateway, array $over = []): PusherClient
    {
        $address = $gateway instanceof Gateway ? $gateway->address() : $gateway;

        return new PusherClient($address, $this->settings($over));
    }

    /**
     * Broadcasts, and waits for the acknowledgement.
     */
    protected function broadcast(string $channel, string $event, mixed $data = null, ?string $except = null): void
    {
        Realtime::broadcast($channel, $event, $data, except: $except);
        Realtime::flush();
    }
}
