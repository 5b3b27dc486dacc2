<?php

/**
 * Broker::send(): values to raw topics, tombstones, partitions, headers in their order.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Producing;

use Toporia\Realtime\Exception\EncodingException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;
use TypeError;

final class SendBrokerTest extends ProducingTestCase
{
    public function testValuesOfEveryKind(): void
    {
        $broker = $this->broker();
        $topic = $this->createTopic($this->topic());
        $values = ['text', "bytes \xff\0", '', '{"not":"touched" }', ['a' => 'é/', 'n' => 1.0], [], 5, 1.5, true,
            false, (object) ['x' => null], null];
        foreach ($values as $value) {
            $broker->send($topic, $value);
        }
        $broker->close();
        $received = array_map(
            static fn (Message $message) => $message->getPayload(),
            $this->consumeAll($topic, count($values))
        );
        self::assertSame(
            ['text', "bytes \xff\0", '', '{"not":"touched" }', '{"a":"\u00e9\/","n":1}', '[]', '5', '1.5', 'true',
                'false', '{"x":null}', null],
            $received
        );
    }

    public function testATombstoneHasItsKeyAndHeaders(): void
    {
        $broker = $this->broker();
        $broker->send($this->topic(), null, 'user-1', ['why' => 'deleted']);
        $broker->close();
        $record = $this->only($this->topic());
        self::assertNull($record->getPayload());
        self::assertNull($record->getData());
        self::assertSame('user-1', $record->getKey());
        self::assertSame(['why' => 'deleted'], $record->getHeaders());
    }

    public function testTheTopicNameIsUsedUnchanged(): void
    {
        $broker = $this->broker();
        $id = $broker->send("$this->prefix.a-b_c.D", 'x', 'k');
        self::assertMatchesRegularExpression('/\A[0-9a-f-]{36}\z/', $id);
        $broker->close();
        $record = $this->only("$this->prefix.a-b_c.D");
        self::assertSame(['raw', null, null, "$this->prefix.a-b_c.D"], [
            $record->getType(), $record->getChannel(), $record->getEvent(), $record->getTopic(),
        ]);
        self::assertSame("$this->prefix.a-b_c.D-{$record->getPartition()}-0", $record->getId());
    }

    public function testTheTimestampIsNow(): void
    {
        $before = time();
        $broker = $this->broker();
        $broker->send($this->topic(), 'plain');
        $broker->send($this->topic(), 'with headers', null, ['h' => 'v']);
        $broker->close();
        foreach ($this->consumeAll($this->topic(), 2) as $record) {
            self::assertGreaterThanOrEqual($before, $record->getTimestamp());
            self::assertLessThanOrEqual(time(), $record->getTimestamp());
        }
    }

    public function testARepeatedHeaderAndOneWithoutAValue(): void
    {
        $broker = $this->broker();
        $broker->send($this->topic(), 'x', null, ['via' => ['one', 'two', null, 'last'], 'none' => null]);
        $broker->close();
        $headers = $this->only($this->topic())->getHeaders();
        self::assertSame(['none' => null, 'via' => 'last'], [
            'none' => $headers['none'], 'via' => $headers['via'],
        ]);
        self::assertCount(2, $headers);
    }

    public function testUnencodableValuesAreNotSent(): void
    {
        $broker = $this->broker();
        $topic = $this->topic();
        $before = Realtime::stats()['messages_produced'];
        foreach ([NAN, [INF], ["\xff"], fopen('php://memory', 'r')] as $value) {
            self::thrown(EncodingException::class, static fn () => $broker->send($topic, $value));
        }
        self::assertSame($before, Realtime::stats()['messages_produced']);
    }

    public function testWrongTypes(): void
    {
        $broker = $this->broker();
        self::assertStringContainsString(
            '$topic',
            self::thrown(TypeError::class, static fn () => $broker->send([], 'x'))
        );
        self::assertStringContainsString(
            '$headers',
            self::thrown(TypeError::class, static fn () => $broker->send('t', 'x', null, 'none'))
        );
        self::thrown(TypeError::class, static fn () => $broker->send('t', 'x', null, [], 'first'));
        self::thrown(TypeError::class, static fn () => $broker->send('t', 'x', null, ['h' => (object) []]));
    }

    public function testNoMessageIsLostWhenAnotherFails(): void
    {
        $broker = $this->broker();
        $topic = $this->createTopic($this->topic(), 3);
        for ($i = 0; $i < 5000; $i++) {
            $broker->send($topic, "$i", "key-$i");
        }
        $broker->close();
        $values = array_map(
            static fn (Message $message) => (int) $message->getPayload(),
            $this->consumeAll($topic, 5000)
        );
        // Not assertSame(): the difference of two lists of 5000 takes minutes under valgrind.
        self::assertSame([], array_values(array_diff(range(0, 4999), $values)), 'lost');
        self::assertCount(5000, $values, 'none twice');
    }
}
