<?php

/**
 * A broadcast reaches the intended sockets, in pusher-js's format, and no others.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Gateway;

use PHPUnit\Framework\Attributes\DataProvider;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\EncodingException;
use Toporia\Realtime\Exception\InvalidChannelException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;

final class DeliveryBrokerTest extends GatewayTestCase
{
    public function testABroadcastReachesThePrivateChannelOfItsName(): void
    {
        $gateway = $this->gateway();
        $client = $this->client($gateway);
        $other = $this->client($gateway);
        $client->subscribe('private-user.1');
        $other->subscribe('private-user.2');
        $this->broadcast('user.1', 'order.created', ['id' => 7, 'total' => 149.5]);
        $event = $client->event('order.created', 'private-user.1');
        self::assertSame(['id' => 7, 'total' => 149.5], $event['data']);
        self::assertSame([], $other->rest());
    }

    public function testADeadLetterThatIsReplayedForAGroupIsNotDeliveredAgain(): void
    {
        $gateway = $this->gateway();
        $client = $this->client($gateway);
        $client->subscribe('private-cache-user.1');
        $this->broadcast('user.1', 'order.created', 1);
        $client->event('order.created', 'private-cache-user.1', 20.0);
        $replayed = Message::event('user.1', 'order.created', 0)->toJson();
        $topic = $this->channelTopic('user.1');
        Realtime::broker()->send($topic, $replayed, 'user.1', ['x-replay-group' => 'workers']);
        $this->broadcast('user.1', 'order.created', 2);
        self::assertSame(2, $client->event('order.created')['data'], 'the next one it gets');
    }

    public function testTheNextTopicIsFoundWhileItRuns(): void
    {
        $gateway = $this->gateway();
        $client = $this->client($gateway);
        $client->subscribe('private-late.1');
        $this->broadcast('late.1', 'first', 1);
        self::assertSame(1, $client->event('first', 'private-late.1', 20.0)['data']);
        $this->broadcast('late.1', 'second', 2);
        self::assertSame(2, $client->event('second', 'private-late.1')['data']);
    }

    public function testPlainNamesAreAcceptedOnlyIfPublic(): void
    {
        $gateway = $this->gateway();
        $client = $this->client($gateway);
        $client->subscribe('public.news');
        $client->say('pusher:subscribe', ['channel' => 'user.1']);
        $refusal = $client->event('pusher:subscription_error', 'user.1');
        self::assertSame(403, $refusal['data']['status']);
        self::assertStringContainsString('public_channels', $refusal['data']['error']);
        $this->broadcast('public.news', 'headline', ['text' => 'Xin chào']);
        self::assertSame(['text' => 'Xin chào'], $client->event('headline', 'public.news')['data']);
    }

    public function testASubscriptionWithoutOrWithAWrongSignatureIsRefused(): void
    {
        $client = $this->client($this->gateway());
        foreach ([[], ['auth' => 'shop-key:' . str_repeat('0', 64)], ['auth' => 'x']] as $auth) {
            $client->say('pusher:subscribe', ['channel' => 'private-user.1'] + $auth);
            $refusal = $client->event('pusher:subscription_error', 'private-user.1');
            self::assertSame(['AuthError', 401], [$refusal['data']['type'], $refusal['data']['status']]);
        }
        $client->subscribe('private-user.2');
    }

    public function testToOthersLeavesTheSenderOut(): void
    {
        $gateway = $this->gateway();
        $sender = $this->client($gateway);
        $other = $this->client($gateway);
        $sender->subscribe('private-chat.1');
        $other->subscribe('private-chat.1');
        $this->broadcast('chat.1', 'said', 'to others', $sender->socketId);
        $this->broadcast('chat.1', 'said', 'to all');
        self::assertSame('to others', $other->event('said')['data']);
        self::assertSame('to all', $sender->event('said')['data'], 'the first one it gets');
    }

    /**
     * pusher-js decodes one level: a string that looks like a number must arrive as a string.
     *
     * @dataProvider values
     */
    #[DataProvider('values')]
    public function testEveryKindOfDataArrivesUnchanged(mixed $data): void
    {
        $client = $this->client($this->gateway());
        $client->subscribe('private-values');
        $this->broadcast('values', 'value', $data);
        self::assertSame($data, $client->event('value', null, 20.0)['data']);
    }

    /** @return array<string, array{mixed}> */
    public static function values(): array
    {
        return [
            'nothing' => [null],
            'a text like a number' => ['123'],
            'an empty text' => [''],
            'quotes and backslashes' => ["\"\\/\u{1F600}\u{2028}\n"],
            'a number' => [123],
            'false' => [false],
            'a list' => [[1, [2], []]],
        ];
    }

    public function testARecordOnAnotherChannelsTopicIsNotDelivered(): void
    {
        $gateway = $this->gateway();
        $client = $this->client($gateway);
        $client->subscribe('private-user.1');
        $this->broadcast('user.1', 'before');
        $client->event('before', null, 20.0);
        $forged = Message::event('user.1', 'forged')->toJson();
        $this->broker()->send($this->createTopic($this->channelTopic('other.1')), $forged);
        Realtime::flush();
        self::eventually(fn () => $gateway->stats()['topic_mismatch'] === 1, 'the mismatch is counted', 20.0);
        $this->broadcast('user.1', 'after');
        $client->event('after');
        self::assertSame([], $client->rest());
    }

    public function testLocallyWithoutKafka(): void
    {
        $gateway = $this->gateway();
        $clients = [$this->client($gateway), $this->client($gateway)];
        $clients[0]->subscribe('private-user.1');
        $clients[1]->subscribe('presence-user.1', ['user_id' => 7]);
        self::assertSame(2, $gateway->broadcastLocally('user.1', 'paid', ['id' => 7]));
        self::assertSame(1, $gateway->broadcastLocally('user.1', 'again', null, $clients[0]->socketId));
        self::assertSame(1, $gateway->broadcastLocally('presence-user.1', 'only', 3));
        self::assertSame(0, $gateway->broadcastLocally('nobody', 'paid'));
        self::assertSame(['id' => 7], $clients[0]->event('paid')['data']);
        self::assertSame(['again@presence-user.1', 'only@presence-user.1'], array_values(array_filter(
            $clients[1]->rest(),
            static fn (string $name) => !str_starts_with($name, 'paid')
        )));
        self::assertSame([], $clients[0]->rest());
    }

    public function testInvalidLocalBroadcasts(): void
    {
        $gateway = $this->gateway();
        $calls = [
            InvalidChannelException::class => fn () => $gateway->broadcastLocally("a\nb", 'x'),
            EncodingException::class => fn () => $gateway->broadcastLocally('a', 'x', "\xff"),
            ConfigurationException::class => fn () => $gateway->broadcastLocally('a', 'x', null, '1.2:y'),
        ];
        foreach ($calls as $class => $call) {
            try {
                $call();
                self::fail("No $class");
            } catch (InvalidChannelException | EncodingException | ConfigurationException $e) {
                self::assertInstanceOf($class, $e);
            }
        }
        $this->expectException(ConfigurationException::class);
        $gateway->broadcastLocally('a', '');
    }

    public function testWsChannelsNarrowsTheGateway(): void
    {
        $gateway = $this->gateway(['ws_channels' => ['order.*']]);
        $client = $this->client($gateway);
        $client->subscribe('private-order.7');
        $client->say('pusher:subscribe', [
            'channel' => 'private-user.1',
            'auth' => \Toporia\Realtime\Gateway::authorize($client->socketId, 'private-user.1', null, $this->settings())['auth'],
        ]);
        $client->event('pusher:subscription_error', 'private-user.1');
        $this->broadcast('order.7', 'paid', 1);
        self::assertSame(1, $client->event('paid', null, 20.0)['data']);
    }
}
