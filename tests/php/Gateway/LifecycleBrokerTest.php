<?php

/**
 * The lifecycle of a gateway: start, address, service, stop, and named reasons for a failed start.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Gateway;

use PHPUnit\Framework\Attributes\DataProvider;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\ConnectionException;
use Toporia\Realtime\Gateway;
use Toporia\Realtime\Tests\Support\WebSocketClient;

final class LifecycleBrokerTest extends GatewayTestCase
{
    public function testItStartsServesAndStops(): void
    {
        $gateway = new Gateway($this->settings());
        self::assertFalse($gateway->isRunning());
        self::assertSame('127.0.0.1:0', $gateway->address(), 'where it would');
        self::assertTrue($gateway->wait(5000), 'there is nothing to wait for');
        self::assertSame($gateway, $gateway->start());
        self::assertTrue($gateway->isRunning());
        self::assertMatchesRegularExpression('/\A127\.0\.0\.1:[1-9]\d+\z/', $gateway->address());
        $address = $gateway->address();
        self::assertSame($address, $gateway->start()->address(), 'harmless when it runs');
        $client = $this->client($gateway);
        $stats = $gateway->stats();
        self::assertTrue($stats['running']);
        self::assertSame($address, $stats['address']);
        self::assertSame(1, $stats['connections']);
        $gateway->stop(200);
        self::assertSame(4200, $client->socket->closed()[0] ?? null, 'reconnect now, elsewhere');
        self::assertFalse($gateway->isRunning());
        self::assertFalse($gateway->stats()['running']);
        $gateway->stop();
        $this->expectException(ConnectionException::class);
        $gateway->broadcastLocally('public.news', 'late');
    }

    public function testAStoppedGatewayStartsAgain(): void
    {
        $gateway = $this->gateway();
        $gateway->stop(0);
        $this->client($gateway->start());
        self::assertTrue($gateway->isRunning());
    }

    public function testWaitReturnsAfterItsTimeout(): void
    {
        $gateway = $this->gateway();
        $start = microtime(true);
        self::assertFalse($gateway->wait(150));
        $took = microtime(true) - $start;
        self::assertGreaterThanOrEqual(0.15, $took);
        self::assertLessThan(1.0, $took);
    }

    public function testAPortInUseNamesTheLikelyOwner(): void
    {
        $other = stream_socket_server('tcp://127.0.0.1:0');
        assert($other !== false);
        $port = (int) substr((string) strrchr((string) stream_socket_get_name($other, false), ':'), 1);
        $gateway = new Gateway($this->settings(['port' => $port]));
        try {
            $gateway->start();
            self::fail('It started.');
        } catch (ConnectionException $e) {
            self::assertStringContainsString((string) $port, $e->getMessage());
            self::assertStringContainsString('in use', $e->getMessage());
            self::assertStringContainsString('realtime:serve', $e->getMessage());
        }
        self::assertFalse($gateway->isRunning());
    }

    public function testAForeignAddress(): void
    {
        $this->expectException(ConnectionException::class);
        $this->expectExceptionMessage('192.0.2.1');
        (new Gateway($this->settings(['host' => '192.0.2.1'])))->start();
    }

    /**
     * @dataProvider wrong
     *
     * @param array<string, mixed> $over
     */
    #[DataProvider('wrong')]
    public function testInvalidSettingsAreNamedBeforeAnythingOpens(array $over, string ...$says): void
    {
        try {
            (new Gateway($this->settings($over)))->start();
            self::fail('It started.');
        } catch (ConfigurationException $e) {
            foreach ($says as $text) {
                self::assertStringContainsString($text, $e->getMessage());
            }
            self::assertStringNotContainsString('hunter2', $e->getMessage(), 'secrets are not shown');
        }
    }

    /** @return array<string, list<mixed>> */
    public static function wrong(): array
    {
        return [
            'no app id' => [['app_id' => ''], 'app_id', 'REALTIME_APP_ID'],
            'no key' => [['key' => ''], 'realtime.gateway.key', 'REALTIME_APP_KEY'],
            'no secret' => [['secrets' => []], 'REALTIME_APP_SECRET', 'openssl rand -hex 32'],
            'an empty secret' => [['secrets' => ['']], 'REALTIME_APP_SECRET'],
            'a short secret' => [['secrets' => ['hunter2']], 'shorter than 32'],
            'a known sample' => [['secrets' => ['0123456789abcdef0123456789abcdef']], 'known sample'],
            'no variety' => [['secrets' => [str_repeat('ab', 20)]], 'different characters'],
            'one good, one bad' => [['secrets' => ['c1f0a2b9d8e7364550918273645f6e7d', 'hunter2']], 'shorter than 32'],
            'an unknown key' => [['allowed_origin' => 'x'], "'allowed_origins'"],
            'a port that is none' => [['port' => 70000], "'port'", '65535'],
            'a broker that is none' => [['broker' => 'kafak'], "'kafak'"],
            'a wrong master key' => [['encryption_master_key' => 'hunter2'], '32 bytes in base64'],
        ];
    }

    public function testASecretCanBeChangedWithoutAnOutage(): void
    {
        $new = bin2hex(random_bytes(16));
        $gateway = $this->gateway(['secrets' => [$new, $this->secret]]);
        $old = $this->client($gateway);
        $old->subscribe('private-user.1');
        $current = $this->client($gateway, ['secrets' => [$new]]);
        $current->subscribe('private-user.1');
        self::assertSame(2, $gateway->stats()['subscriptions']);
    }

    public function testAnUnknownKeyIsRefusedPermanently(): void
    {
        $gateway = $this->gateway();
        $socket = new WebSocketClient($gateway->address(), '/app/other?protocol=7&client=js&version=8.4.0');
        self::assertStringContainsString(' 101 ', $socket->status, 'never an HTTP error: it costs the client a minute');
        $frame = json_decode((string) ($socket->receive()['payload'] ?? ''), true);
        self::assertSame('pusher:error', $frame['event']);
        self::assertSame(4001, $socket->closed()[0] ?? null);
    }
}
