<?php

/**
 * retry_max_parked and retry_max_ahead: pending retries are limited, the partition pauses, and the member stays in its
 * group.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Delivery;

use DomainException;
use PHPUnit\Framework\Attributes\DataProvider;
use Throwable;
use Toporia\Realtime\Broker;
use Toporia\Realtime\Message;

final class RetryLimitsBrokerTest extends DeliveryTestCase
{
    public function testPendingRetriesAreLimited(): void
    {
        $this->produce(array_map(static fn (int $i) => "-$i", range(1, 40)));
        [$queued, $held] = [[], []];
        $broker = $this->consumer(
            static fn (Message $m): ?Throwable => $m->getAttempt() === 1 ? new DomainException('no') : null,
            ['retry_max_parked' => 5, 'retry_backoff_ms' => 60, 'retry_backoff_max_ms' => 60]
        );
        $broker->onFailed(static function () use ($broker, &$queued, &$held): void {
            $queued[] = $broker->stats()['parked'];
            $held[] = $broker->stats()['held_back'];
        });
        $broker->onTick(static function (Broker $broker) use (&$queued, &$held): void {
            $queued[] = $broker->stats()['parked'];
            $held[] = $broker->stats()['held_back'];
        }, 10);
        self::assertSame(40, $this->drain($broker));
        self::assertLessThanOrEqual(5, max($queued));
        self::assertSame(1, max($held), 'the partition is paused meanwhile');
        self::assertSame([0, 0], [$broker->stats()['parked'], $broker->stats()['held_back']]);
        self::assertCount(40, array_unique($this->done));
        self::assertCount(40, $this->done);
        $broker->close();
        self::assertSame([], $this->left());
    }

    public function testAPartitionReadsAheadOnlyUpToTheLimit(): void
    {
        $this->produce(['A1', ...array_map(static fn (int $i) => "B$i", range(1, 60))]);
        $this->produce(array_map(static fn (int $i) => "C$i", range(1, 60)), 1);
        $broker = $this->consumer(['A1' => 1], [
            'retry_max_ahead' => 20, 'retry_backoff_ms' => 800, 'retry_backoff_max_ms' => 800,
        ]);
        $before = $held = null;
        $broker->onTick(function (Broker $broker) use (&$before, &$held): void {
            if (!in_array('A1#2', $this->tries, true) && in_array('C60', $this->done, true)) {
                $before = count(preg_grep('/^B/', $this->done) ?: []);
                $held = $broker->stats()['held_back'];
            }
        }, 20);
        self::assertSame(121, $this->drain($broker));
        self::assertNotNull($before, 'the other partition went on to its end meanwhile');
        self::assertGreaterThan(10, $before, 'others of the same partition went on');
        self::assertLessThanOrEqual(20, $before);
        self::assertSame(1, $held);
        self::assertSame(
            array_map(static fn (int $i) => "B$i", range(1, 60)),
            array_values(preg_grep('/^B/', $this->done) ?: []),
            'in order, once each'
        );
        $broker->close();
        self::assertSame([], $this->left());
    }

    public function testALongQueueBehindOneKey(): void
    {
        $this->produce(array_map(static fn (int $i) => "A$i", range(1, 300)));
        $broker = $this->consumer(['A1' => 2], [
            'retry_max_ahead' => 50, 'retry_max_parked' => 10, 'retry_backoff_ms' => 100,
        ]);
        self::assertSame(300, $broker->consume(batchSize: 500, stopWhenEmpty: true));
        self::assertSame(array_map(static fn (int $i) => "A$i", range(1, 300)), $this->done);
        self::assertSame(['A1#1', 'A1#2', 'A1#3', 'A2#1'], array_slice($this->tries, 0, 4));
    }

    /** @dataProvider waits */
    #[DataProvider('waits')]
    public function testALongDelayDoesNotCostTheMembership(string $record, array $config): void
    {
        $this->produce(['A1', 'A2', '-1']);
        $lost = [];
        $broker = $this->consumer([$record => 1], $config + [
            'retry_backoff_ms' => 3200, 'retry_backoff_max_ms' => 3200,
            'consumer_config' => ['max.poll.interval.ms' => 1500],
        ]);
        $broker->onRevoked(static function (array $partitions) use (&$lost): void {
            array_push($lost, ...$partitions);
        });
        self::assertSame(3, self::within(20.0, $broker)->consume(maxMessages: 3));
        self::assertSame([], $lost, 'it polled all the time');
        self::assertSame(1, $broker->stats()['rebalances']);
        self::assertCount(4, $this->tries);
        $broker->close();
        self::assertSame([], $this->left());
    }

    /** @return array<string, array{string, array<string, mixed>}> */
    public static function waits(): array
    {
        return [
            'with others going on' => ['A1', []],
            'with its partition paused' => ['A1', ['retry_max_parked' => 1, 'retry_max_ahead' => 1]],
        ];
    }

    public function testALongDelayInATransactionDoesNotCostTheMembership(): void
    {
        $this->produce(['A1', 'B1']);
        $broker = $this->consumer(['B1' => 1], [
            'delivery' => 'exactly-once', 'retry_backoff_ms' => 3200, 'retry_backoff_max_ms' => 3200,
            'consumer_config' => ['max.poll.interval.ms' => 1500],
        ]);
        self::assertSame(2, self::within(20.0, $broker)->consume(maxMessages: 2));
        self::assertSame(1, $broker->stats()['rebalances']);
        self::assertContains('B1', $this->done);
    }

    public function testMemoryIsBounded(): void
    {
        $topic = var_export($this->topic(), true);
        $this->runPhp(<<<PHP
            for (\$i = 0; \$i < 12000; \$i++) {
                Realtime::broker()->send($topic, str_repeat('x', 300), null, [], 0);
            }
            Realtime::flush(30000);
            PHP, ['timeout' => 40.0])->assertExit();
        $used = $this->runPhp(<<<PHP
            \$resident = fn () => (int) explode(' ', file_get_contents('/proc/self/statm'))[1] * 4;
            \$broker = new Broker(['retry_max_parked' => 500, 'retry_backoff_ms' => 20, 'retry_backoff_max_ms' => 20,
                'circuit_failures' => 0,
                'consumer_config' => ['queued.max.messages.kbytes' => 1024, 'queued.min.messages' => 2000]]);
            \$used = [];
            \$broker->subscribeTopic($topic, function (Message \$message) use (&\$used, \$resident) {
                static \$calls = 0;
                if (++\$calls % 4000 === 0) {
                    \$used[] = \$resident();
                }
                if (\$message->getAttempt() === 1) {
                    throw new DomainException(str_repeat('why', 100));
                }
            });
            \$handled = \$broker->consume(maxMessages: 12000);
            echo json_encode(['handled' => \$handled, 'used' => \$used, 'php' => memory_get_peak_usage()]);
            PHP, ['timeout' => 60.0, 'ini' => ['error_log' => '/dev/null', 'log_errors' => '1']])->json();
        self::assertSame(12000, $used['handled']);
        self::assertCount(6, $used['used']);
        self::assertLessThan(8 * 1024, $used['used'][5] - $used['used'][1], 'KB: ' . implode(' ', $used['used']));
        self::assertLessThan(8 << 20, $used['php']);
    }
}
