<?php

/**
 * The alerts of gateways fire on the metrics of processes in which their cause is real.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Metrics;

use Toporia\Realtime\Realtime;

final class GatewayAlertsBrokerTest extends GatewayAlertsTestCase
{
    public function testConnectionsThatAreRefused(): void
    {
        $this->startGateway('');
        $clients = [$this->client($this->sockets), $this->client($this->sockets)];
        $before = self::scrape($this->metrics);
        for ($n = 0; $n < 10; $n++) {
            self::ask($this->sockets, "GET /app/other-key?protocol=7 HTTP/1.1\r\nHost: $this->sockets\r\n" . self::upgrade());
        }
        self::assertCount(2, $clients);
        $this->assertAlert('RealtimeGatewayRefusing', $before, 'realtime_gateway_connections_refused_total', 10);
    }

    public function testClientsThatDoNotRead(): void
    {
        $this->startGateway("'max_queue' => '512K', 'max_event' => '256K', 'public_channels' => 'news'");
        $clients = [];
        for ($n = 0; $n < 8; $n++) {
            $clients[] = $client = $this->client($this->sockets);
            $client->subscribe('news');
        }
        $before = self::scrape($this->metrics);
        for ($n = 0; $n < 100; $n++) {
            Realtime::broadcast('news', 'e', str_repeat('x', 200_000));
        }
        Realtime::flush();
        $this->assertAlert('RealtimeGatewaySlowCloses', $before, 'realtime_gateway_slow_clients_total', 8);
        self::assertCount(8, $clients);
    }

    public function testChannelsThatAreNotRecovered(): void
    {
        $this->startGateway("'public_channels' => 'news'");
        $before = self::scrape($this->metrics);
        for ($n = 0; $n < 3; $n++) {
            $client = $this->client($this->sockets);
            $client->say('realtime:resume', ['news' => 'a position that it never had']);
            $client->subscribe('news');
            self::assertSame(['recovered' => false], $client->event('realtime:recovered', 'news')['data']);
        }
        $this->assertAlert('RealtimeGatewayNotRecovered', $before, 'realtime_gateway_not_recovered_total', 3);
    }

    public function testMoreConnectionsThanFileDescriptors(): void
    {
        $pid = $this->startGateway('')->pid();
        $before = self::scrape($this->metrics);
        $open = static fn (): int => count(scandir("/proc/$pid/fd")) - 2;
        // From here on, because a gateway needs more descriptors to start than to run.
        $limit = $open() + 50;
        exec("prlimit --pid=$pid --nofile=$limit", result_code: $code);
        self::assertSame(0, $code);
        // The system accepts those that the gateway cannot. It needs a handshake, or they would be closed for newer ones.
        $clients = array_map(fn (): mixed => $this->open(), range(1, 100));
        self::within(static fn (): bool => $open() >= $limit, 'all descriptors are used', 30);
        // The metrics are read through a descriptor, too.
        $clients = [];
        $this->assertAlert('RealtimeGatewayDescriptorsShort', $before, 'realtime_gateway_descriptors_short_total', 1);
    }

    /** @return resource a connection that asked for a WebSocket */
    private function open()
    {
        $stream = stream_socket_client("tcp://$this->sockets", $code, $error, 5);
        self::assertIsResource($stream, $error);
        fwrite($stream, "GET /app/shop-key?protocol=7 HTTP/1.1\r\nHost: $this->sockets\r\n" . self::upgrade());

        return $stream;
    }

    private static function upgrade(): string
    {
        return "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            . 'Sec-WebSocket-Key: ' . base64_encode(random_bytes(16)) . "\r\n\r\n";
    }
}
