<?php

/**
 * The gateway's HTTP API on a Kafka that freezes and recovers: 200 means acknowledged, 503 explains why not.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Gateway;

use Toporia\Realtime\Gateway;
use Toporia\Realtime\Tests\Support\BrokerTestCase;
use Toporia\Realtime\Tests\Support\Http;
use Toporia\Realtime\Tests\Support\KafkaNode;

final class HttpApiKafkaTest extends BrokerTestCase
{
    use RunsGateways;

    private KafkaNode $node;

    protected function setUp(): void
    {
        parent::setUp();
        $this->node = KafkaNode::start();
    }

    protected function tearDown(): void
    {
        $this->stopGateways();
        $this->node->stop();
        parent::tearDown();
    }

    public function testAnUnacknowledgedEventIsA503WithTheReason(): void
    {
        $gateway = $this->gateway(['broker' => ['brokers' => $this->node->address] + $this->config()]);
        $client = $this->client($gateway);
        $client->subscribe('private-user.1');
        self::assertSame([200, '{}'], $this->post($gateway, 'before'));
        self::assertSame(['n' => 1], $client->event('before', 'private-user.1')['data']);

        $this->node->pause();
        $start = microtime(true);
        [$status, $body] = $this->post($gateway, 'meanwhile');
        $took = microtime(true) - $start;
        self::assertSame(503, $status, $body);
        self::assertStringContainsString('The events were not published: Kafka at ' . $this->node->address, $body);
        self::assertStringContainsString('did not acknowledge it for topic "' . $this->channelTopic('private-user.1') . '"', $body);
        self::assertGreaterThan(3.0, $took, 'Kafka gets its time');
        self::assertLessThan(12.0, $took, 'and the caller an answer');

        $this->node->continue();
        self::eventually(fn () => $this->post($gateway, 'after')[0] === 200, 'Kafka takes events again', 30);
        // Unacknowledged messages may have arrived; acknowledged ones have.
        self::assertSame(['n' => 1], $client->event('after', 'private-user.1')['data']);
    }

    /**
     * Signed like Pusher's server libraries (Pusher HTTP API, "Generating authentication signatures").
     *
     * @return array{int, string} status and body
     */
    private function post(Gateway $gateway, string $event): array
    {
        $body = (string) json_encode(['name' => $event, 'channels' => ['private-user.1'], 'data' => '{"n":1}']);
        $query = 'auth_key=shop-key&auth_timestamp=' . time() . '&auth_version=1.0&body_md5=' . md5($body);
        $signature = hash_hmac('sha256', "POST\n/apps/shop/events\n$query", $this->secret);
        $url = "http://{$gateway->address()}/apps/shop/events?$query&auth_signature=$signature";
        [$lines, $answer] = Http::request($url, [
            'method' => 'POST',
            'header' => "Content-Type: application/json\r\nConnection: close",
            'content' => $body,
            'timeout' => 30,
        ]);
        self::assertSame(1, preg_match('~\AHTTP/1\.1 (\d{3}) ~', $lines[0] ?? '', $status));

        return [(int) $status[1], $answer];
    }
}
