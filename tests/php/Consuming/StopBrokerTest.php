<?php

/**
 * When consume() returns, its return value, and that it neither waits for a full batch nor stops too early.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Consuming;

use Toporia\Realtime\Broker;
use Toporia\Realtime\Message;

final class StopBrokerTest extends ConsumingTestCase
{
    public function testStopConsumingFromInsideACallback(): void
    {
        $this->publish('user.1', range(1, 10));
        $seen = [];
        $broker = $this->broker();
        $broker->subscribe('user.1', static function (Message $message) use ($broker, &$seen): void {
            $seen[] = $message->getData();
            if ($message->getData() === 4) {
                $broker->stopConsuming();
            }
        });
        self::assertSame(4, self::within(15.0, $broker)->consume());
        self::assertSame([1, 2, 3, 4], $seen, 'it ends after the current record');
        self::assertSame('stopped', $broker->stats()['stop_reason']);
        $broker->close();
        self::assertSame([5, 6, 7, 8, 9, 10], $this->rest('user.1'), 'what was fetched and not handled comes again');
    }

    public function testStopConsumingFromATickWhileIdle(): void
    {
        $broker = $this->broker()->subscribe('user.1', static fn () => null);
        $broker->onTick(static fn (Broker $broker) => $broker->stopConsuming(), 300);
        $start = microtime(true);
        self::assertSame(0, $broker->consume(timeoutMs: 30_000));
        self::assertLessThan(5.0, microtime(true) - $start, 'a long poll does not hold it up');
        self::assertSame('stopped', $broker->stats()['stop_reason']);
    }

    public function testStopConsumingBeforeConsumeHasNoEffect(): void
    {
        $this->publish('user.1', [1, 2]);
        $broker = $this->broker()->subscribe('user.1', static fn () => null);
        $broker->stopConsuming();
        self::assertSame(2, self::within(15.0, $broker)->consume(maxMessages: 2));
    }

    public function testConsumeResumesWhereItStopped(): void
    {
        $this->publish('user.1', range(1, 6));
        $seen = [];
        $broker = $this->broker();
        $broker->subscribe('user.1', static function (Message $message) use ($broker, &$seen): void {
            $seen[] = $message->getData();
            if ($message->getData() % 2 === 0) {
                $broker->stopConsuming();
            }
        });
        self::assertSame([2, 2, 2], [$broker->consume(), $broker->consume(), $broker->consume()]);
        self::assertSame(range(1, 6), $seen);
    }

    public function testStopWhenEmptyWaitsForTheEndOfEveryPartition(): void
    {
        $topic = $this->topic();
        $this->send($topic, range(0, 999), null);
        $seen = [];
        $broker = $this->broker()->subscribeTopic($topic, static function (Message $message) use (&$seen): void {
            $seen[(int) $message->getPartition()][] = $message->getData();
        });
        self::assertSame(1000, $broker->consume(batchSize: 10, stopWhenEmpty: true));
        self::assertSame('empty', $broker->stats()['stop_reason']);
        self::assertSame(0, $broker->stats()['lag']);
        ksort($seen);
        self::assertSame([0, 1, 2, 3], array_keys($seen));
        foreach ($seen as $partition => $data) {
            self::assertSame(range($partition, 999, 4), $data, 'a partition keeps its order');
        }
    }

    public function testStopWhenEmptyFindsTheRecordsWrittenSinceTheLastRun(): void
    {
        $seen = [];
        $broker = $this->broker()->subscribe('user.1', static function (Message $message) use (&$seen): void {
            $seen[] = $message->getData();
        });
        foreach ([1, 2, 3] as $data) {
            $this->publish('user.1', [$data]);
            self::assertSame(1, $broker->consume(stopWhenEmpty: true), "run $data");
        }
        self::assertSame(0, $broker->consume(stopWhenEmpty: true));
        self::assertSame([1, 2, 3], $seen);
    }

    public function testStopWhenEmptyOnAnEmptyTopic(): void
    {
        $topic = $this->createTopic($this->topic(), 2);
        $broker = $this->broker()->subscribeTopic($topic, static fn () => null);
        $start = microtime(true);
        self::assertSame(0, $this->drain($broker));
        self::assertLessThan(8.0, microtime(true) - $start);
        self::assertSame('empty', $broker->stats()['stop_reason']);
    }

    public function testStopWhenEmptyOnATopicThatDoesNotExist(): void
    {
        $broker = $this->broker()->subscribe('nobody.home', static fn () => null);
        $start = microtime(true);
        self::assertSame(0, $this->drain($broker));
        self::assertLessThan(8.0, microtime(true) - $start);
        self::assertSame('empty', $broker->stats()['stop_reason']);
    }

    public function testStopWhenEmptyWithOneTopicThatDoesNotExist(): void
    {
        $this->publish('user.1', [1, 2]);
        $broker = $this->broker()
            ->subscribe('nobody.home', static fn () => null)
            ->subscribe('user.1', static fn () => null);
        self::assertSame(2, self::within(20.0, $broker)->consume(stopWhenEmpty: true));
        self::assertSame('empty', $broker->stats()['stop_reason']);
    }

    public function testWithoutStopWhenEmptyItContinuesAtTheEnd(): void
    {
        $this->publish('user.1', [1]);
        $broker = $this->broker()->subscribe('user.1', static fn () => null);
        self::assertSame(1, self::within(1.0, $broker)->consume());
        self::assertSame('stopped', $broker->stats()['stop_reason'], 'only the tick ended it');
    }

    public function testMaxMessagesBelowAndAboveTheBatch(): void
    {
        $this->publish('user.1', range(1, 50));
        $broker = $this->broker()->subscribe('user.1', static fn () => null);
        self::assertSame(5, $broker->consume(batchSize: 20, maxMessages: 5));
        self::assertSame(30, $broker->consume(batchSize: 7, maxMessages: 30));
        self::assertSame(15, $broker->consume(maxMessages: 100, stopWhenEmpty: true));
        self::assertSame('empty', $broker->stats()['stop_reason']);
        self::assertSame(50, $broker->stats()['handled']);
    }

    public function testTheBatchSizeIsAMaximumAndNeverWaitedFor(): void
    {
        $this->publish('user.1', [0.0]);
        $latencies = [];
        // The default interval; the other tests fetch more often.
        $broker = $this->broker(['consumer_config' => ['fetch.wait.max.ms' => 100]]);
        $broker->subscribe('user.1', static function (Message $message) use (&$latencies): void {
            $latencies[] = hrtime(true) / 1e6 - $message->getData();
        });
        $broker->consume(maxMessages: 1);
        $latencies = [];
        $sent = 0;
        $broker->onTick(static function (Broker $broker) use (&$latencies, &$sent): void {
            // One at a time: each is sent when the previous one has arrived.
            if ($sent === count($latencies)) {
                $broker->publish('user.1', Message::event(null, 'tick', hrtime(true) / 1e6));
                $sent++;
            }
        }, 20);
        self::assertSame(7, $broker->consume(timeoutMs: 10_000, batchSize: 1000, maxMessages: 7));
        sort($latencies);
        self::assertLessThan(150.0, $latencies[3], 'median, ms: ' . implode(' ', array_map('intval', $latencies)));
    }

    public function testATimeoutOfZeroDoesNotWait(): void
    {
        $this->publish('user.1', [1, 2, 3]);
        $broker = $this->broker()->subscribe('user.1', static fn () => null);
        self::assertSame(3, self::within(15.0, $broker)->consume(timeoutMs: 0, maxMessages: 3));
    }

    public function testTheCountIsOfThisCallAndTheStatsAreOfAll(): void
    {
        $this->publish('user.1', range(1, 3));
        $broker = $this->broker()->subscribe('user.1', static fn () => null);
        self::assertSame(3, $this->drain($broker));
        self::assertSame(0, $this->drain($broker));
        $this->publish('user.1', [4]);
        self::assertSame(1, self::within(15.0, $broker)->consume(maxMessages: 1));
        $stats = $broker->stats();
        self::assertSame([4, 4], [$stats['handled'], $stats['messages_consumed']]);
        self::assertGreaterThan(4 * 80, $stats['bytes_consumed']);
        self::assertTrue($stats['connected']);
        self::assertNull($stats['last_error']);
    }

    public function testATickRunsAtItsIntervalAndGetsTheBroker(): void
    {
        $broker = $this->broker()->subscribe('user.1', static fn () => null);
        $times = [];
        $returned = $broker->onTick(static function (Broker $given) use ($broker, &$times): void {
            self::assertSame($broker, $given);
            $times[] = microtime(true);
            if (count($times) === 4) {
                $given->stopConsuming();
            }
        }, 250);
        self::assertSame($broker, $returned);
        $broker->consume();
        for ($i = 1; $i < 4; $i++) {
            $gap = $times[$i] - $times[$i - 1];
            self::assertGreaterThan(0.24, $gap, 'not more often');
            self::assertLessThan(1.0, $gap, 'also when idle');
        }
    }

    public function testATickAlsoRunsWhenBusyAndNeverInsideACallback(): void
    {
        $this->publish('user.1', range(1, 40));
        $inside = false;
        $ticks = 0;
        $broker = $this->broker()->subscribe('user.1', static function () use (&$inside): void {
            $inside = true;
            usleep(20_000);
            $inside = false;
        });
        $broker->onTick(static function () use (&$inside, &$ticks): void {
            self::assertFalse($inside);
            $ticks++;
        }, 100);
        $this->drain($broker);
        self::assertGreaterThanOrEqual(5, $ticks);
    }

    public function testAnExceptionInATickEndsConsume(): void
    {
        $this->publish('user.1', [1]);
        $broker = $this->broker()->subscribe('user.1', static fn () => null);
        $boom = new \LogicException('tick');
        $broker->onTick(static function (Broker $broker) use ($boom): void {
            if ($broker->stats()['handled'] === 1) {
                throw $boom;
            }
        }, 50);
        try {
            $broker->consume();
            self::fail('It went on.');
        } catch (\LogicException $e) {
            self::assertSame($boom, $e);
        }
        $broker->close();
        self::assertSame([], $this->rest('user.1'), 'what was handled is committed');
    }
}
