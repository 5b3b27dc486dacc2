<?php

/**
 * Events that no browser receives: a warning with channel, size and setting, at the sender and in the gateway's log.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Gateway;

use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Tests\Support\Http;

final class UndeliverableBrokerTest extends GatewayTestCase
{
    public function testTheSenderWarnsOncePerReason(): void
    {
        $result = $this->runPhp(<<<'PHP'
            foreach (['order:7', 'order:8', 'chat.Zürich', str_repeat('a', 200)] as $channel) {
                Realtime::broadcast($channel, 'paid', 1);
            }
            (new Broker())->publish('order.7', Message::event('order.7', 'pusher:paid', 1));
            Realtime::broadcast(['order.7', 'order.8'], 'large', str_repeat('x', 300_000));
            Realtime::broadcast('order.7', 'fits', str_repeat('x', 200_000));
            Realtime::broadcast('private-order.7', 'paid', 1);
            Realtime::flush();
            PHP)->assertExit();
        $lines = preg_grep('/No browser receives/', explode("\n", $result->stderr)) ?: [];
        self::assertCount(3, $lines, $result->stderr);
        [$name, $event, $size] = array_values($lines);
        self::assertStringContainsString('event \"paid\" on channel \"order:7\"', $name);
        self::assertStringContainsString('pusher:paid', $event);
        self::assertStringContainsString('event \"large\" on channel \"order.7\"', $size);
        self::assertStringContainsString('300002 bytes, more than realtime.gateway.max_event (262144)', $size);
    }

    public function testTheSenderKnowsTheConfiguredLimit(): void
    {
        $result = $this->runPhp(<<<'PHP'
            Realtime::configure(['gateway' => ['max_event' => '1K']]);
            Realtime::broadcast('order.7', 'paid', str_repeat('x', 2000));
            Realtime::flush();
            PHP)->assertExit();
        self::assertStringContainsString('2002 bytes, more than realtime.gateway.max_event (1024)', $result->stderr);
    }

    public function testTheHttpApiRefusesANameThatNoTopicCanHave(): void
    {
        $gateway = $this->gateway();
        $body = (string) json_encode(['name' => 'e', 'channel' => '__presence', 'data' => '1']);
        $query = 'auth_key=shop-key&auth_timestamp=' . time() . '&auth_version=1.0&body_md5=' . md5($body);
        $signature = hash_hmac('sha256', "POST\n/apps/shop/events\n$query", $this->secret);
        $url = "http://{$gateway->address()}/apps/shop/events?$query&auth_signature=$signature";
        [$lines, $answer] = Http::request($url, [
            'method' => 'POST', 'header' => 'Content-Type: application/json', 'content' => $body,
        ]);
        self::assertStringContainsString(' 400 ', $lines[0] ?? '');
        self::assertStringContainsString('reserved for the gateways', $answer);
    }

    public function testTheGatewayWarnsOncePerReason(): void
    {
        $lines = [];
        $logger = static function (string $level, string $message) use (&$lines): void {
            str_contains($message, 'No browser receives') && $lines[] = "$level: $message";
        };
        Realtime::configure([
            'default_broker' => 'kafka', 'brokers' => ['kafka' => $this->config()], 'logger' => $logger,
        ]);
        $gateway = $this->gateway(['max_event' => 1000]);
        $send = function (string $channel, string $event, mixed $data): void {
            // As another program's message: this process warns about its own.
            $envelope = Message::event($channel, $event, $data)->toJson();
            $this->broker()->send($this->createTopic($this->channelTopic($channel)), $envelope);
            Realtime::flush();
        };
        $send("$this->prefix:7", 'paid', 1);
        $send("$this->prefix:8", 'paid', 1);
        $send("$this->prefix.8", 'large', str_repeat('x', 2000));
        $send("$this->prefix.9", 'pusher:paid', 1);
        $send("private-encrypted-$this->prefix", 'plain', 1);
        $this->broker()->send($this->channelTopic("$this->prefix.9"), 'nonsense');
        Realtime::flush();
        self::eventually(static function () use ($gateway, &$lines): bool {
            Realtime::stats();
            Realtime::log('info', 'delivers the lines');
            $stats = $gateway->stats();

            return $stats['bad_records'] === 1 && $stats['plain_to_encrypted'] === 1 && count($lines) >= 5;
        }, 'all records are read', 30.0);
        $all = implode("\n", $lines);
        self::assertCount(5, $lines, $all);
        self::assertSame(5, substr_count($all, 'warning: '));
        self::assertStringContainsString("event \"paid\" on channel \"$this->prefix:7\"", $all);
        self::assertStringContainsString('2002 bytes, more than realtime.gateway.max_event (1000)', $all);
        self::assertStringContainsString('"pusher:paid"', $all);
        self::assertStringContainsString('encryption_master_key', $all);
        self::assertStringContainsString('a record of topic "' . $this->channelTopic("$this->prefix.9") . '"', $all);
    }
}
