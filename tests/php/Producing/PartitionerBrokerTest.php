<?php

/**
 * The partition of a record: murmur2 of its key, as in Java's and KafkaJS's producers.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Producing;

use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;

final class PartitionerBrokerTest extends ProducingTestCase
{
    public function testTheHashOfThisTestMatchesKafkas(): void
    {
        // From Kafka's own UtilsTest, as positive numbers.
        $known = ['21' => -973932308, 'foobar' => -790332482, 'a-little-bit-long-string' => -985981536,
            'a-little-bit-longer-string' => -1486304829,
            'lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8' => -58897971, 'abc' => 479470107];
        foreach ($known as $key => $hash) {
            self::assertSame($hash & 0x7fffffff, self::partitionOf((string) $key, PHP_INT_MAX), "murmur2($key)");
        }
    }

    public function testKeysGoToTheirPartition(): void
    {
        $topic = $this->createTopic($this->topic(), 7);
        $channel = $this->createTopic($this->channelTopic('user.1'), 7);
        $broker = $this->broker();
        $keys = ['21', 'foobar', 'abc', 'a-little-bit-long-string', '', 'user.1', "\xff\x80\0", 'đơn-hàng'];
        for ($i = 0; $i < 60; $i++) {
            $keys[] = "order-$i";
        }
        foreach ($keys as $key) {
            $broker->send($topic, 'value', $key);
            $broker->publish('user.1', Message::event('user.1', 'e'), $key);
        }
        $broker->publish('user.1', Message::event('user.1', 'default key'));
        $broker->close();

        $raw = $this->consumeAll($topic, count($keys));
        $enveloped = $this->consumeAll($channel, count($keys) + 1);
        self::assertCount(count($keys), $raw);
        self::assertCount(count($keys) + 1, $enveloped);
        foreach ([...$raw, ...$enveloped] as $message) {
            $key = (string) $message->getKey();
            self::assertSame(self::partitionOf($key, 7), $message->getPartition(), "partition of '$key'");
        }
    }

    public function testRecordsWithoutAKeyAreSpread(): void
    {
        $topic = $this->createTopic($this->topic(), 5);
        // Without a batch in progress, each record may go to any partition.
        $broker = $this->broker(['producer_config' => ['sticky.partitioning.linger.ms' => 0]]);
        // librdkafka skips a partition whose leader is not known yet: this may happen briefly for a new topic.
        for ($partition = 0; $partition < 5; $partition++) {
            $broker->send($topic, "to $partition", null, [], $partition);
        }
        Realtime::flush();
        for ($i = 0; $i < 200; $i++) {
            $broker->send($topic, "$i");
        }
        $broker->close();
        $messages = $this->consumeAll($topic, 205);
        self::assertCount(205, $messages);
        $perPartition = [];
        foreach ($messages as $message) {
            self::assertNull($message->getKey());
            $perPartition[$message->getPartition()] = ($perPartition[$message->getPartition()] ?? 0) + 1;
        }
        self::assertCount(5, $perPartition);
        self::assertGreaterThan(15, min($perPartition));
    }

    public function testAChannelKeepsItsOrder(): void
    {
        $this->createTopic($this->channelTopic('user.1'), 4);
        $broker = $this->broker();
        for ($i = 0; $i < 3000; $i++) {
            $broker->publish('user.1', Message::event('user.1', 'e', $i));
        }
        $broker->close();
        $messages = $this->consumeAll($this->channelTopic('user.1'), 3000);
        self::assertSame(range(0, 2999), array_map(static fn (Message $m) => self::data($m), $messages));
    }

    public function testAnExplicitPartitionWins(): void
    {
        $topic = $this->createTopic($this->topic(), 4);
        $broker = $this->broker();
        foreach ([3, 0, 2] as $partition) {
            $broker->send($topic, "to $partition", 'the same key', [], $partition);
        }
        $broker->close();
        $found = [];
        foreach ($this->consumeAll($topic, 3) as $message) {
            $found[$message->getPartition()] = $message->getPayload();
        }
        ksort($found);
        self::assertSame([0 => 'to 0', 2 => 'to 2', 3 => 'to 3'], $found);
    }

    private static function data(Message $message): mixed
    {
        return json_decode((string) $message->getPayload(), true)['data'];
    }
}
