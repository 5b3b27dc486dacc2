<?php

/**
 * Admin calls that need Apache Kafka: topic configuration, deleting topics and records, offsets by time, transactions.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Admin;

use DateTimeImmutable;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\InvalidChannelException;
use Toporia\Realtime\Exception\UnknownTopicException;
use Toporia\Realtime\Tests\Support\ChildProcess;

final class AdminKafkaTest extends AdminTestCase
{
    public function testATopicIsCreatedWithItsConfiguration(): void
    {
        $topic = $this->topic('settings');
        $settings = ['retention.ms' => 7_200_000, 'cleanup.policy' => 'delete', 'preallocate' => false];
        self::assertTrue($this->admin->createTopic($topic, 2, 1, $settings));
        $command = [self::root() . '/tests/support/kafka.sh', 'tool', 'org.apache.kafka.tools.TopicCommand',
            '--bootstrap-server', self::address(), '--describe', '--topic', $topic];
        $described = (new ChildProcess($command, getenv()))->wait(60.0)->assertExit()->stdout;
        self::assertStringContainsString('PartitionCount: 2', $described);
        self::assertStringContainsString('retention.ms=7200000', $described);
    }

    public function testRefusalsByKafkaAreReported(): void
    {
        $topic = $this->topic('refused');
        $create = fn (...$arguments) => fn () => $this->admin->createTopic($topic, ...$arguments);
        $e = self::thrown(ConfigurationException::class, $create(1, -1, ['retention.mss' => 1]));
        self::assertStringContainsString('retention.mss', $e->getMessage());
        self::thrown(ConfigurationException::class, $create(1, 50));
        $this->admin->createTopic("$this->prefix.a_b");
        self::thrown(InvalidChannelException::class, fn () => $this->admin->createTopic("$this->prefix.a.b"));
    }

    public function testATopicIsDeleted(): void
    {
        $topic = $this->filled([3]);
        $this->admin->deleteTopic($topic);
        self::assertSame([], $this->admin->topics($topic));
        self::thrown(UnknownTopicException::class, fn () => $this->admin->deleteTopic($topic));
        self::assertTrue($this->admin->createTopic($topic), 'its name is free');
        self::assertSame([['beginning' => 0, 'end' => 0]], $this->admin->offsets($topic));
    }

    public function testRecordsAreDeleted(): void
    {
        $topic = $this->filled([5, 5]);
        $this->admin->deleteRecords($topic, [0 => 3]);
        self::assertSame(
            [['beginning' => 3, 'end' => 5], ['beginning' => 0, 'end' => 5]],
            $this->admin->offsets($topic)
        );
        self::assertSame(['0-3', '0-4'], $this->readAll($topic)[0]);
        self::assertSame(['0-3', '0-4'], $this->readAll($topic, [0 => 1])[0], 'from what is left');
        $tooFar = fn () => $this->admin->deleteRecords($topic, [1 => 2, 0 => 6]);
        $e = self::thrown(ConfigurationException::class, $tooFar);
        self::assertStringContainsString('3 to 5', $e->getMessage());
        self::assertSame(0, $this->admin->offsets($topic)[1]['beginning'], 'nothing was deleted');
        $this->admin->deleteRecords($topic, array_column($this->admin->offsets($topic), 'end'));
        self::assertSame([], $this->readAll($topic));
        $this->fill($topic, [1]);
        self::assertSame([['0-0']], $this->readAll($topic));
    }

    public function testOffsetsByTime(): void
    {
        $topic = $this->filled([2, 0]);
        $between = self::waitForNextSecond();
        $precise = new DateTimeImmutable();
        usleep(20_000);
        $this->fill($topic, [1, 0]);
        self::assertSame([0, 0], $this->admin->offsetsAt($topic, 0));
        self::assertSame([2, 0], $this->admin->offsetsAt($topic, $between));
        self::assertSame([2, 0], $this->admin->offsetsAt($topic, $precise));
        self::assertSame([3, 0], $this->admin->offsetsAt($topic, $between + 3600), 'the end, where all are older');
        self::thrown(ConfigurationException::class, fn () => $this->admin->offsetsAt($topic, -1));
    }

    /**
     * The performance tool ends each transaction with a control record, so the last offset of the topic holds no
     * message.
     */
    public function testTransactionMarkersAtTheEndAreNotRecords(): void
    {
        $topic = $this->createTopic($this->topic('transactions'), 2);
        $command = [self::root() . '/tests/support/kafka.sh', 'tool', 'org.apache.kafka.tools.ProducerPerformance',
            '--topic', $topic, '--num-records', '20', '--record-size', '10', '--throughput', '-1',
            '--transactional-id', "$this->prefix-tx", '--transaction-duration-ms', '10000',
            '--bootstrap-server', self::address()];
        (new ChildProcess($command, getenv()))->wait(60.0)->assertExit();
        $ends = array_sum(array_column($this->admin->offsets($topic), 'end'));
        self::assertGreaterThan(20, $ends, 'there are markers');
        $start = microtime(true);
        self::assertSame(20, array_sum(array_map('count', $this->readAll($topic))));
        self::assertLessThan(5.0, microtime(true) - $start);
    }
}
