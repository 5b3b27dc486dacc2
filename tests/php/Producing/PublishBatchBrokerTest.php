<?php

/**
 * Broker::publishBatch(): messages and arrays, the counts it returns, and the effect of an invalid entry.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Producing;

use PHPUnit\Framework\Attributes\DataProvider;
use Throwable;
use Toporia\Realtime\Broker;
use Toporia\Realtime\Exception\BatchException;
use Toporia\Realtime\Exception\DeliveryException;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\EncodingException;
use Toporia\Realtime\Exception\InvalidChannelException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;
use TypeError;

final class PublishBatchBrokerTest extends ProducingTestCase
{
    public function testMessagesAndArraysAreSentAndAcknowledged(): void
    {
        $broker = $this->broker();
        $result = $broker->publishBatch([
            Message::event('user.1', 'a', 1)->withKey('k1')->withHeaders(['h' => 'm']),
            ['user.1', 'b', ['n' => 2]],
            ['user.1', 'c'],
            ['user.1', 'd', null, 'k4', ['h' => 'r']],
            'named' => Message::event('user.1', 'e'),
        ]);
        self::assertSame(['queued', 'failed', 'total_time_ms', 'throughput'], array_keys($result));
        self::assertSame([5, 0], [$result['queued'], $result['failed']]);
        self::assertIsFloat($result['total_time_ms']);
        self::assertEqualsWithDelta(5000 / $result['total_time_ms'], $result['throughput'], 1.0);
        self::assertSame(0, Realtime::stats()['queued'], 'all is acknowledged');

        $found = [];
        foreach ($this->consumeAll($this->channelTopic('user.1'), 5) as $record) {
            $envelope = (array) json_decode((string) $record->getPayload(), true);
            $found[$envelope['event']] = [$envelope['data'] ?? null, $record->getKey(), $record->getHeaders()];
        }
        ksort($found);
        self::assertSame([
            'a' => [1, 'k1', ['h' => 'm']],
            'b' => [['n' => 2], 'user.1', []],
            'c' => [null, 'user.1', []],
            'd' => [null, 'k4', ['h' => 'r']],
            'e' => [null, 'user.1', []],
        ], $found);
    }

    public function testALargeBatchArrivesInOrder(): void
    {
        $this->createTopic($this->channelTopic('user.1'), 3);
        $batch = [];
        for ($i = 0; $i < 10_000; $i++) {
            $batch[] = ['user.1', 'e', $i];
        }
        $result = $this->broker()->publishBatch($batch);
        self::assertSame([10_000, 0], [$result['queued'], $result['failed']]);
        self::assertSame(range(0, 9999), array_column($this->envelopes('user.1', 10_000), 'data'));
    }

    public function testAnEmptyBatch(): void
    {
        $result = $this->broker()->publishBatch([]);
        self::assertSame([0, 0], [$result['queued'], $result['failed']]);
    }

    /**
     * @dataProvider badEntries
     *
     * @param class-string<Throwable> $why
     */
    #[DataProvider('badEntries')]
    public function testABadEntryIsNamedWithTheCause(mixed $bad, string $why): void
    {
        $broker = $this->broker();
        $batch = [['user.1', 'first'], ['user.1', 'second'], $bad, ['user.1', 'behind it']];
        $e = self::catch(BatchException::class, static fn () => $broker->publishBatch($batch));
        self::assertSame(2, $e->getIndex());
        self::assertInstanceOf($why, $e->getPrevious());
        self::assertNotSame('', $e->getMessage());
    }

    /** @return array<string, array{mixed, class-string<Throwable>}> */
    public static function badEntries(): array
    {
        return [
            'no entry' => ['user.1', Throwable::class],
            'another object' => [(object) [], Throwable::class],
            'no event' => [['user.1'], ConfigurationException::class],
            'an unknown key' => [['channel' => 'user.1', 'event' => 'e', 'header' => []], ConfigurationException::class],
            'a sixth value' => [['user.1', 'e', 1, null, [], 'x'], ConfigurationException::class],
            'a channel twice' => [['user.1', 'e', 'channel' => 'user.2'], ConfigurationException::class],
            'no channel' => [Message::event(null, 'e'), InvalidChannelException::class],
            'a bad channel' => [['', 'e'], InvalidChannelException::class],
            'bad data' => [['user.1', 'e', NAN], EncodingException::class],
        ];
    }

    public function testWithoutABrokerItReturnsTheCountInBoundedTime(): void
    {
        $broker = new Broker(['brokers' => $this->deadAddress(), 'shutdown_flush_ms' => 0,
            'producer_config' => ['message.timeout.ms' => 1000]]);
        $ms = self::time(static function () use ($broker, &$result): void {
            $result = $broker->publishBatch([['user.1', 'a'], ['user.1', 'b']], 200);
        });
        self::assertSame([2, 2], [$result['queued'], $result['failed']]);
        self::assertGreaterThan(150, $ms);
        self::assertLessThan(1000, $ms);
        $ms = self::time(static function () use ($broker, &$result): void {
            $result = $broker->publishBatch([['user.1', 'c']], 0);
        });
        self::assertSame(1, $result['queued']);
        self::assertLessThan(100, $ms, 'a flush of 0 ms does not wait');
        self::assertStringContainsString(
            '3 message',
            self::thrown(DeliveryException::class, static fn () => $broker->close())
        );
        // They expire within this test, so that no other test gets their reports.
        $e = self::catch(DeliveryException::class, static fn () => Realtime::flush(5000));
        self::assertCount(3, $e->getFailed());
    }

    public function testNotAnArray(): void
    {
        $broker = $this->broker();
        self::assertStringContainsString(
            '$messages',
            self::thrown(TypeError::class, static fn () => $broker->publishBatch('x'))
        );
    }
}
