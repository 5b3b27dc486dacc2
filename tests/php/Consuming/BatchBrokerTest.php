<?php

/**
 * subscribeBatch(): batches of messages, and which messages count as handled when one fails.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Consuming;

use DomainException;
use PHPUnit\Framework\Attributes\DataProvider;
use Toporia\Realtime\Broker;
use Toporia\Realtime\Exception\BatchException;
use Toporia\Realtime\Message;

final class BatchBrokerTest extends ConsumingTestCase
{
    /** @var list<list<mixed>> the data of each list */
    private array $lists = [];

    public function testBatchesOfAtMostTheBatchSizeInOrder(): void
    {
        $this->publish('user.1', range(0, 249));
        self::assertSame(250, $this->collecting()->consume(batchSize: 40, stopWhenEmpty: true));
        self::assertSame(range(0, 249), array_merge(...$this->lists));
        self::assertLessThanOrEqual(40, max(array_map('count', $this->lists)));
        self::assertLessThan(30, count($this->lists), 'and not one by one');
    }

    public function testKeysKeepTheirOrderAcrossPartitions(): void
    {
        $topic = $this->channelTopic('user.1');
        $records = [];
        for ($i = 0; $i < 400; $i++) {
            $records[] = Message::event('user.1', 'e', $i)->toJson();
        }
        $this->send($topic, $records, null);
        self::assertSame(400, $this->collecting()->consume(batchSize: 33, stopWhenEmpty: true));
        $byPartition = [];
        foreach (array_merge(...$this->lists) as $i) {
            $byPartition[$i % 4][] = $i;
        }
        foreach ($byPartition as $partition => $data) {
            self::assertSame(range($partition, 399, 4), $data);
        }
    }

    public function testABatchContainsOnlyMessagesOfItsSubscription(): void
    {
        for ($i = 0; $i < 10; $i++) {
            $this->publish('user.1', ["dot $i"]);
            $this->publish('user_1', ["line $i"]);
        }
        $singles = [];
        $broker = $this->collecting()->subscribe('user_1', static function (Message $message) use (&$singles): void {
            $singles[] = $message->getData();
        });
        self::assertSame(20, $this->drain($broker));
        self::assertSame(array_map(static fn (int $i) => "dot $i", range(0, 9)), array_merge(...$this->lists));
        self::assertSame(array_map(static fn (int $i) => "line $i", range(0, 9)), $singles);
    }

    public function testMaxMessagesIsExact(): void
    {
        $this->publish('user.1', range(1, 50));
        $broker = $this->collecting();
        self::assertSame(23, $broker->consume(batchSize: 10, maxMessages: 23));
        self::assertSame(range(1, 23), array_merge(...$this->lists));
        $broker->close();
        self::assertSame(range(24, 50), $this->rest('user.1'));
    }

    public function testAStopTakesEffectAfterTheCurrentBatch(): void
    {
        $this->publish('user.1', range(1, 50));
        $broker = $this->broker();
        $broker->subscribeBatch('user.1', function (array $messages) use ($broker): void {
            $this->lists[] = array_map(static fn (Message $message) => $message->getData(), $messages);
            $broker->stopConsuming();
        });
        $handled = self::within(15.0, $broker)->consume(batchSize: 10);
        self::assertCount(1, $this->lists);
        self::assertCount($handled, $this->lists[0]);
        $broker->close();
        self::assertSame(range($handled + 1, 50), $this->rest('user.1'));
    }

    public function testAPartialBatchIsDeliveredWithoutWaiting(): void
    {
        $this->publish('user.1', [1]);
        $broker = $this->collecting();
        $start = microtime(true);
        self::assertSame(1, $broker->consume(timeoutMs: 20_000, batchSize: 1000, maxMessages: 1));
        self::assertLessThan(5.0, microtime(true) - $start);
    }

    public function testBatchExceptionNamesTheFailedMessage(): void
    {
        $this->publish('user.1', range(1, 20));
        $cause = new DomainException('no');
        $failing = true;
        $attempts = [];
        $broker = $this->broker(self::AT_ONCE);
        $broker->subscribeBatch('user.1', function (array $messages) use ($cause, &$failing, &$attempts): void {
            foreach ($messages as $i => $message) {
                if ($failing && $message->getData() === 8) {
                    throw new BatchException($i, $cause);
                }
                $attempts[$message->getData()] = $message->getAttempt();
                $this->lists[0][] = $message->getData();
            }
        });
        try {
            $broker->consume(stopWhenEmpty: true);
            self::fail('It went on.');
        } catch (BatchException $e) {
            self::assertSame($cause, $e->getPrevious());
        }
        self::assertSame(7, $broker->stats()['handled']);
        $failing = false;
        self::assertSame(13, $this->drain($broker));
        self::assertSame(range(1, 20), $this->lists[0], 'those before it are not handed over again');
        self::assertSame([1, 2, 1], [$attempts[7], $attempts[8], $attempts[9]]);
        $broker->close();
        self::assertSame([], $this->rest('user.1'));
    }

    public function testBatchExceptionCommitsUpToTheFailedMessage(): void
    {
        $this->publish('user.1', range(1, 20));
        $broker = $this->broker(self::AT_ONCE)->subscribeBatch('user.1', static function (array $messages): void {
            foreach ($messages as $i => $message) {
                if ($message->getData() === 8) {
                    throw new BatchException($i);
                }
            }
        });
        try {
            $this->drain($broker);
            self::fail('It went on.');
        } catch (BatchException) {
            $broker->close();
        }
        self::assertSame(range(8, 20), $this->rest('user.1'));
    }

    public function testAnyOtherExceptionFailsTheWholeBatch(): void
    {
        $this->publish('user.1', range(1, 20));
        $boom = new DomainException('no');
        $calls = 0;
        $first = null;
        $broker = $this->broker(self::AT_ONCE);
        $broker->subscribeBatch('user.1', static function (array $messages) use ($boom, &$calls, &$first): void {
            if (++$calls === 2) {
                $first = $messages[0]->getData();
                throw $boom;
            }
        });
        try {
            $broker->consume(batchSize: 5, stopWhenEmpty: true);
            self::fail('It went on.');
        } catch (DomainException $e) {
            self::assertSame($boom, $e);
        }
        $broker->close();
        self::assertSame(range((int) $first, 20), $this->rest('user.1'));
    }

    /** @dataProvider indexes */
    #[DataProvider('indexes')]
    public function testAnIndexOutsideTheBatchLosesNothing(int $index): void
    {
        $this->publish('user.1', range(1, 5));
        $broker = $this->broker(self::AT_ONCE);
        $broker->subscribeBatch('user.1', static function () use ($index): void {
            throw new BatchException($index);
        });
        try {
            $broker->consume(stopWhenEmpty: true);
            self::fail('It went on.');
        } catch (BatchException) {
            $broker->close();
        }
        self::assertContains(5, $this->rest('user.1'), 'at least the last one was not handled');
    }

    /** @return array<string, array{int}> */
    public static function indexes(): array
    {
        return ['too large' => [1000], 'negative' => [-1]];
    }

    public function testAPatternOfChannels(): void
    {
        foreach (['user.1', 'user.2'] as $channel) {
            $this->publish($channel, [$channel, $channel]);
        }
        $broker = $this->broker()->subscribeBatch('user.*', function (array $messages): void {
            $this->lists[] = array_map(static fn (Message $message) => $message->getChannel(), $messages);
        });
        self::assertSame(4, $this->drain($broker));
        self::assertEqualsCanonicalizing(['user.1', 'user.1', 'user.2', 'user.2'], array_merge(...$this->lists));
    }

    private function collecting(): Broker
    {
        return $this->broker()->subscribeBatch('user.1', function (array $messages): void {
            self::assertTrue(array_is_list($messages));
            $this->lists[] = array_map(static fn (Message $message) => $message->getData(), $messages);
        });
    }
}
