<?php

/**
 * Broker::publish(): a message's own bytes, keys and headers, and the effect of the other arguments.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Producing;

use Toporia\Realtime\Broker;
use Toporia\Realtime\Message;
use TypeError;

final class PublishBrokerTest extends ProducingTestCase
{
    /** An envelope as another program may write it: other order, spaces, other escapes, an unknown key. */
    private const FOREIGN = '{"type":"event", "timestamp":1763700000,"channel":"user.1","id":"msg_5f3",'
        . '"event":"order/paid","extra":[1.0],"data":{"n":1.50,"é":"/"}}';

    public function testAMessagePublishedUnchangedSendsItsOriginalBytes(): void
    {
        $message = Message::fromJson(self::FOREIGN);
        $broker = $this->broker();
        self::assertSame('msg_5f3', $broker->publish('user.1', $message));
        $broker->publish('user.1', $message->withKey('k')->withHeaders(['h' => 'v']));
        $broker->close();
        $topic = $this->channelTopic('user.1');
        self::assertSame([self::FOREIGN, self::FOREIGN], $this->payloads($topic, 2));
    }

    public function testAReceivedMessagePublishedAgainSendsItsOriginalBytes(): void
    {
        $broker = $this->broker();
        $broker->send($this->channelTopic('user.1'), self::FOREIGN, 'first key', ['h' => '1', 'h2' => '2']);
        $again = $this->broker(['topic_prefix' => "$this->prefix-two"]);
        $broker->subscribe('user.1', static function (Message $message, ?Broker $b = null) use ($again): void {
            $again->publish('user.1', $message);
        });
        self::assertSame(1, $broker->consume(200, 10, 1));
        $again->close();

        $record = $this->only("{$this->prefix}-two_user_1");
        self::assertSame(self::FOREIGN, $record->getPayload());
        self::assertSame('user.1', $record->getKey(), 'the key is determined again');
        $headers = $record->getHeaders();
        self::assertSame(['1', '2'], [$headers['h'] ?? null, $headers['h2'] ?? null]);
    }

    public function testTheChannelArgumentWinsOverTheMessages(): void
    {
        $message = Message::event('user.1', 'moved', ['x' => "\u{e9}"]);
        $broker = $this->broker();
        self::assertSame($message->getId(), $broker->publish('room.2', $message));
        $broker->close();
        $record = $this->only($this->channelTopic('room.2'));
        self::assertSame(
            str_replace('"user.1"', '"room.2"', $message->toJson()),
            $record->getPayload(),
            'all but the channel is the same'
        );
        self::assertSame('room.2', $record->getKey());
        self::assertSame('user.1', $message->getChannel(), 'the message itself does not change');
    }

    public function testAMessageWithoutAChannelGetsTheArgument(): void
    {
        $message = Message::event(null, 'e', 5);
        $broker = $this->broker();
        $broker->publish('user.1', $message);
        $broker->close();
        $payload = (string) $this->only($this->channelTopic('user.1'))->getPayload();
        self::assertStringStartsWith(
            '{"id":"' . $message->getId() . '","type":"event","channel":"user.1","event":"e","data":5,',
            $payload
        );
    }

    public function testKeys(): void
    {
        $message = Message::event('user.1', 'e');
        $keyed = $message->withKey('own');
        $broker = $this->broker();
        $broker->publish('user.1', $message);
        $broker->publish('user.1', $keyed);
        $broker->publish('user.1', $keyed, 'given');
        $broker->publish('user.1', $keyed->withKey(null));
        $broker->publish('user.1', $keyed, '');
        $broker->close();
        $keys = array_map(static fn (Message $m) => $m->getKey(), $this->consumeAll($this->channelTopic('user.1'), 5));
        sort($keys);
        self::assertSame(['', 'given', 'own', 'user.1', 'user.1'], $keys);
    }

    public function testHeadersOfTheCallOverrideTheMessages(): void
    {
        $message = Message::event('user.1', 'e')->withHeaders(['a' => '1', 'b' => '2']);
        $broker = $this->broker();
        $broker->publish('user.1', $message, headers: ['b' => 'two', 'c' => '3']);
        $broker->close();
        $headers = $this->only($this->channelTopic('user.1'))->getHeaders();
        ksort($headers);
        self::assertSame(['a' => '1', 'b' => 'two', 'c' => '3'], $headers);
        self::assertSame(['a' => '1', 'b' => '2'], $message->getHeaders());
    }

    public function testEveryTypeOfMessageIsPublished(): void
    {
        $broker = $this->broker();
        $types = ['event', 'subscribe', 'unsubscribe', 'error', 'ping', 'pong'];
        foreach ($types as $type) {
            $broker->publish('user.1', Message::fromArray(['type' => $type, 'channel' => 'user.1', 'event' => 'e']));
        }
        $broker->close();
        self::assertSame($types, array_column($this->envelopes('user.1', 6), 'type'));
    }

    public function testRefusals(): void
    {
        $broker = $this->broker();
        $message = Message::event('user.1', 'e');
        self::assertSame([], $message->withHeaders(['x-attempts' => '1'])->getHeaders());
        self::assertStringContainsString(
            'message',
            self::thrown(TypeError::class, static fn () => $broker->publish('user.1', 'no message'))
        );
    }

    public function testAClosedBrokerStillPublishes(): void
    {
        $broker = $this->broker();
        $broker->publish('user.1', Message::event('user.1', 'before'));
        $broker->close();
        $broker->close();
        $broker->publish('user.1', Message::event('user.1', 'after'));
        $broker->close();
        self::assertSame(['before', 'after'], array_column($this->envelopes('user.1', 2), 'event'));
    }
}
