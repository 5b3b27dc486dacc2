<?php

/**
 * Message: behaviour of the native class beyond its stand-in, on the way to Kafka and back.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Producing;

use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;

final class MessageBrokerTest extends ProducingTestCase
{
    public function testAMessageArrivesUnchanged(): void
    {
        $message = Message::event('user.1', 'order.created', ['é' => [1, 1.5, null, true], 'o' => ['a' => '/']])
            ->withKey('k')->withHeaders(['h' => 'v']);
        $broker = $this->broker();
        $broker->publish('user.1', $message);
        $received = null;
        $broker->subscribe('user.1', static function (Message $m) use (&$received): void {
            $received = $m;
        });
        $broker->consume(200, 10, 1);
        self::assertInstanceOf(Message::class, $received);
        foreach (
            ['getId', 'getType', 'getChannel', 'getEvent', 'getData', 'getTimestamp', 'toJson', 'toArray',
                'getHeaders', 'getKey'] as $method
        ) {
            self::assertSame($message->{$method}(), $received->{$method}(), $method);
        }
        self::assertSame($message->toJson(), $received->getPayload());
        self::assertSame(
            [$this->channelTopic('user.1'), 0, 1],
            [$received->getTopic(), $received->getOffset(), $received->getAttempt()]
        );
        self::assertIsInt($received->getPartition());
        self::assertSame([null, null, null, null, 1], [$message->getTopic(), $message->getPartition(),
            $message->getOffset(), $message->getPayload(), $message->getAttempt()]);
    }

    public function testAReceivedMessageIsImmutableToo(): void
    {
        $broker = $this->broker();
        $broker->send($this->channelTopic('user.1'), '{"id":"i","type":"event","channel":"user.1","event":"e",'
            . '"timestamp":5}', 'key', ['h' => 'v']);
        $broker->close();
        $message = $this->only($this->channelTopic('user.1'));
        $changed = $message->withKey('other')->withHeaders(['x' => 'y']);
        self::assertSame(['key', ['h' => 'v']], [$message->getKey(), $message->getHeaders()]);
        self::assertSame(['other', ['x' => 'y']], [$changed->getKey(), $changed->getHeaders()]);
        self::assertSame($message->getPayload(), $changed->getPayload());
        self::assertSame([$message->getTopic(), $message->getOffset()], [$changed->getTopic(), $changed->getOffset()]);
    }

    public function testDataIsDecodedOnceAndEachCallerHasItsOwnCopy(): void
    {
        $message = Message::fromJson('{"id":"i","type":"event","event":"e","data":{"list":[1,2]},"timestamp":1}');
        $data = $message->getData();
        $data['list'][] = 3;
        self::assertSame(['list' => [1, 2]], $message->getData());
        $large = Message::event('c', 'e', range(1, 200_000));
        $large->getData();
        self::assertLessThan(5, self::time(static fn () => $large->getData()), 'the second time in ms');
    }

    public function testEveryFieldIsUnescaped(): void
    {
        $message = Message::fromJson('{"id":"\u0061\/b","type":"e\u0076ent","channel":"ph\u00f2ng.1","event":"a\"\ud83d'
            . '\ude00","data":"\u00e9","timestamp":1763700000}');
        self::assertSame(
            ['a/b', 'event', 'phòng.1', "a\"\u{1F600}", 'é', 1763700000],
            [$message->getId(), $message->getType(), $message->getChannel(), $message->getEvent(), $message->getData(),
                $message->getTimestamp()]
        );
    }

    public function testFiveMegabytesAndDeepDataThroughKafka(): void
    {
        $broker = $this->broker([
            'producer_config' => ['message.max.bytes' => 8_000_000],
            'consumer_config' => ['max.partition.fetch.bytes' => 8_000_000],
        ]);
        $deep = [];
        for ($level = 1; $level < 500; $level++) {
            $deep = ['d' => $deep];
        }
        $broker->publish('user.1', Message::event('user.1', 'deep', $deep));
        $broker->close();
        $broker = $this->broker();
        $broker->subscribe('user.1', static function (Message $m) use (&$received): void {
            $received = $m->getData();
        });
        $broker->consume(200, 10, 1);
        self::assertSame($deep, $received);
        $large = Message::event('user.1', 'e', str_repeat("é\u{1F600}/", 500_000));
        self::assertSame(str_repeat("é\u{1F600}/", 500_000), Message::fromJson($large->toJson())->getData());
    }

    public function testAFixedIdOfAnotherSystemIsKept(): void
    {
        $message = Message::fromArray(['id' => 'msg_65f.1', 'channel' => 'user.1', 'event' => 'e', 'timestamp' => 7]);
        self::assertSame(
            '{"id":"msg_65f.1","type":"event","channel":"user.1","event":"e","timestamp":7}',
            $message->toJson()
        );
        Realtime::broker()->publish('user.1', $message);
        Realtime::flush();
        self::assertSame([$message->toJson()], $this->payloads($this->channelTopic('user.1')));
    }
}
