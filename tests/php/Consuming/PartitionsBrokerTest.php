<?php

/**
 * Partitions as the application sees them: assigned and revoked, paused, resumed, and read from another position.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Consuming;

use DateTimeImmutable;
use PHPUnit\Framework\Attributes\DataProvider;
use Toporia\Realtime\Broker;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Message;

final class PartitionsBrokerTest extends ConsumingTestCase
{
    /** @var list<array{int, mixed}> partition and data of each record */
    private array $got = [];

    public function testOnAssignedRunsBeforeTheFirstRecord(): void
    {
        $topic = $this->topic();
        $this->send($topic, range(0, 7), null);
        $order = [];
        $broker = $this->broker()->subscribeTopic($topic, static function () use (&$order): void {
            $order[] = 'record';
        });
        self::assertSame($broker, $broker->onAssigned(static function (array $partitions) use (&$order): void {
            $order[] = $partitions;
        }));
        self::assertSame(8, $this->drain($broker));
        $assigned = array_shift($order);
        usort($assigned, static fn (array $a, array $b) => $a['partition'] <=> $b['partition']);
        self::assertSame([0, 1, 2, 3], array_column($assigned, 'partition'));
        self::assertSame(array_fill(0, 4, ['topic', 'partition']), array_map('array_keys', $assigned));
        self::assertSame([$topic], array_unique(array_column($assigned, 'topic')));
        self::assertSame(array_fill(0, 8, 'record'), $order);
    }

    public function testTheStatsNameTheAssignedPartitions(): void
    {
        $topic = $this->topic();
        $this->send($topic, range(0, 9), null);
        $broker = $this->reading($topic);
        $broker->consume(maxMessages: 4);
        // Known as soon as each partition was fetched from.
        self::eventually(static fn () => $broker->stats()['lag'] === 6, 'lag 6');
        $this->drain($broker);
        $stats = $broker->stats();
        self::assertSame(0, $stats['lag']);
        self::assertSame(1, $stats['rebalances']);
        $positions = array_column($stats['assigned'], 'position', 'partition');
        ksort($positions);
        self::assertSame([3, 3, 2, 2], $positions);
        self::assertSame([$topic], array_values(array_unique(array_column($stats['assigned'], 'topic'))));
        self::assertSame([0, 0, 0, 0], array_column($stats['assigned'], 'lag'));
    }

    /**
     * @dataProvider positions
     *
     * @param list<int> $expected
     */
    #[DataProvider('positions')]
    public function testSeekInsideOnAssigned(int|string $position, array $expected): void
    {
        $topic = $this->topic();
        $this->send($topic, range(0, 9), 1);
        $first = $this->reading($topic);
        $first->consume(maxMessages: 5);
        $first->close();
        $this->got = [];

        $broker = $this->reading($topic);
        $broker->onAssigned(static function () use ($broker, $topic, $position): void {
            $broker->seek($topic, 1, $position);
        });
        self::assertSame(count($expected), $this->drain($broker));
        self::assertSame($expected, array_column($this->got, 1));
    }

    /** @return array<string, array{int|string, list<int>}> */
    public static function positions(): array
    {
        return [
            'an offset' => [2, range(2, 9)],
            'an offset as text' => ['8', [8, 9]],
            'beginning' => ['beginning', range(0, 9)],
            'end' => ['end', []],
        ];
    }

    public function testSeekToATime(): void
    {
        $topic = $this->topic();
        $this->send($topic, ['old', 'old'], 0);
        // Records have timestamps of whole milliseconds.
        usleep(50_000);
        $time = new DateTimeImmutable();
        usleep(50_000);
        $this->send($topic, ['new', 'new'], 0);
        $broker = $this->reading($topic);
        $broker->onAssigned(static function () use ($broker, $topic, $time): void {
            $broker->seek($topic, 0, $time);
        });
        $this->drain($broker);
        // The embedded broker has no time index: it answers with the end or the beginning.
        if (self::isReal()) {
            self::assertSame(['new', 'new'], array_column($this->got, 1));
        } else {
            self::assertContains(count($this->got), [0, 2, 4]);
        }
    }

    public function testSeekFromACallbackGoesBack(): void
    {
        $topic = $this->topic();
        $this->send($topic, range(0, 4), 0);
        $broker = $this->broker();
        $seen = [];
        $broker->subscribeTopic($topic, static function (Message $message) use ($broker, $topic, &$seen): void {
            $seen[] = $message->getData();
            if (count($seen) === 4) {
                $broker->seek($topic, 0, 1);
            }
        });
        self::within(15.0, $broker)->consume(maxMessages: 8);
        self::assertSame([0, 1, 2, 3, 1, 2, 3, 4], $seen);
    }

    public function testSeekBetweenTwoCalls(): void
    {
        $topic = $this->topic();
        $this->send($topic, range(0, 9), 0);
        $broker = $this->reading($topic);
        $broker->consume(maxMessages: 3);
        self::assertSame($broker, $broker->seek($topic, 0, 8));
        $this->drain($broker);
        self::assertSame([0, 1, 2, 8, 9], array_column($this->got, 1));
    }

    /** @dataProvider badSeeks */
    #[DataProvider('badSeeks')]
    public function testBadSeeksAreErrors(int $partition, int|string $position, string $message): void
    {
        $topic = $this->topic();
        $this->send($topic, [0], 0);
        $broker = $this->reading($topic);
        $this->drain($broker);
        $this->expectException(ConfigurationException::class);
        $this->expectExceptionMessage($message);
        $broker->seek($topic, $partition, $position);
    }

    /** @return array<string, array{int, int|string, string}> */
    public static function badSeeks(): array
    {
        return [
            'a partition that is not assigned' => [77, 0, 'partition 77: it is not assigned to this consumer'],
            'a negative offset' => [0, -5, '$position must be'],
            'a negative offset as text' => [0, '-5', '$position must be'],
            'another word' => [0, 'middle', '$position must be'],
            'a negative partition' => [-1, 0, '$partition must be 0 or more'],
        ];
    }

    public function testSeekBeforeAnythingIsAssigned(): void
    {
        $this->expectException(ConfigurationException::class);
        $this->expectExceptionMessage('onAssigned()');
        $this->reading($this->topic())->seek($this->topic(), 0, 0);
    }

    public function testAPausedPartitionDeliversNothingAndLosesNothing(): void
    {
        $topic = $this->topic();
        $this->send($topic, range(0, 79), null);
        $broker = $this->broker();
        $broker->subscribeTopic($topic, function (Message $message) use ($broker, $topic): void {
            $this->got[] = [(int) $message->getPartition(), $message->getData()];
            if (count($this->got) === 1) {
                $broker->pause($topic, 2);
            }
        });
        self::within(0.8, $broker)->consume();
        $paused = array_filter($this->got, static fn (array $got): bool => $got[0] === 2);
        self::assertLessThanOrEqual(1, count($paused), 'the current record, if it was of that partition');
        self::assertGreaterThanOrEqual(60, count($this->got), 'the others go on');

        self::assertSame($broker, $broker->resume($topic, 2));
        self::within(15.0, $broker)->consume(maxMessages: 80 - count($this->got));
        $data = array_column($this->got, 1);
        self::assertSame($data, array_unique($data), 'nothing twice');
        self::assertEqualsCanonicalizing(range(0, 79), $data, 'nothing lost');
    }

    public function testPauseOfEverything(): void
    {
        $topic = $this->topic();
        $this->send($topic, range(0, 39), null);
        $broker = $this->broker();
        $broker->subscribeTopic($topic, function (Message $message) use ($broker): void {
            $this->got[] = [(int) $message->getPartition(), $message->getData()];
            if (count($this->got) === 10) {
                self::assertSame($broker, $broker->pause());
            }
        });
        self::assertSame(10, self::within(0.8, $broker)->consume());
        $broker->resume($topic);
        self::assertSame(30, self::within(15.0, $broker)->consume(maxMessages: 30));
        self::assertEqualsCanonicalizing(range(0, 39), array_column($this->got, 1));
    }

    public function testAfterTheEndPauseAndResumeLoseNothing(): void
    {
        $topic = $this->topic();
        $this->send($topic, range(0, 7), null);
        $broker = $this->reading($topic);
        self::assertSame(8, $this->drain($broker));
        $broker->pause();
        $this->send($topic, range(8, 15), null);
        $broker->resume();
        self::assertSame(8, self::within(5.0, $broker)->consume(maxMessages: 8));
        $broker->pause()->resume();
        self::assertSame(0, self::within(1.0, $broker)->consume());
        self::assertEqualsCanonicalizing(range(0, 15), array_column($this->got, 1));
    }

    public function testPauseInsideOnAssigned(): void
    {
        $topic = $this->topic();
        $this->send($topic, range(0, 7), null);
        $broker = $this->reading($topic);
        $broker->onAssigned(static fn () => $broker->pause());
        self::assertSame(0, self::within(0.8, $broker)->consume());
        $broker->resume();
        self::assertSame(8, self::within(15.0, $broker)->consume(maxMessages: 8));
    }

    public function testPauseAndResumeWithNothingAssignedAreHarmless(): void
    {
        $broker = $this->reading($this->topic());
        self::assertSame($broker, $broker->pause()->resume()->pause('x', 3)->resume('x', 3));
    }

    public function testAnExceptionInOnAssignedEndsConsumeAndKeepsThePartitions(): void
    {
        $this->publish('user.1', [1, 2]);
        $boom = new \LogicException('assigned');
        $throw = true;
        $broker = $this->broker()->subscribe('user.1', static fn () => null);
        $broker->onAssigned(static function () use ($boom, &$throw): void {
            if ($throw) {
                throw $boom;
            }
        });
        try {
            $broker->consume();
            self::fail('It went on.');
        } catch (\LogicException $e) {
            self::assertSame($boom, $e);
        }
        $throw = false;
        self::assertSame(2, $this->drain($broker));
    }

    public function testTheLastHookReplacesEarlierOnes(): void
    {
        $this->publish('user.1', [1]);
        $called = [];
        $broker = $this->broker()->subscribe('user.1', static fn () => null);
        foreach (['first', 'second'] as $name) {
            $broker->onAssigned(static function () use (&$called, $name): void {
                $called[] = $name;
            });
        }
        $this->drain($broker);
        self::assertSame(['second'], $called);
    }

    private function reading(string $topic): Broker
    {
        return $this->broker()->subscribeTopic($topic, function (Message $message): void {
            $this->got[] = [(int) $message->getPartition(), $message->getData() ?? $message->getPayload()];
        });
    }
}
