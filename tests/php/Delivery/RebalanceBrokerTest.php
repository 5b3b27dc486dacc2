<?php

/**
 * Partitions that move to another member: handled records are committed first, pending retries move along, lost
 * partitions are no longer committed.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Delivery;

use PHPUnit\Framework\Attributes\DataProvider;
use Throwable;
use Toporia\Realtime\Message;
use Toporia\Realtime\Tests\Support\ChildProcess;

final class RebalanceBrokerTest extends DeliveryTestCase
{
    /** When another member joins, the existing ones have this minus one second to rejoin. */
    protected int $sessionMs = 2000;

    public function testHandledRecordsAreCommittedBeforeAPartitionMoves(): void
    {
        foreach (range(0, 3) as $partition) {
            $this->produce(["A$partition", "B$partition"], $partition);
        }
        $config = '["consumer_config" => ["auto.commit.interval.ms" => 60000]]';
        $first = $this->startPhp($this->member('', $config));
        self::eventually(fn (): bool => count($this->notedDone()) === 8, 'all are handled');
        $second = $this->startPhp($this->member('', $config));
        self::eventually(fn (): bool => count($this->assigned($second)) === 2, 'two partitions move', 20.0);
        // Long enough for a second delivery, if there were one.
        usleep(300_000);
        $this->end($first, $second);
        self::assertCount(8, $this->notedDone(), 'no record is delivered twice');
        self::assertSame([], $this->left());
    }

    public function testAPendingRetryMovesWithItsPartition(): void
    {
        foreach (range(0, 3) as $partition) {
            $this->produce(["A$partition", "B$partition"], $partition);
        }
        $wait = '["retry_backoff_ms" => 60000, "retry_backoff_max_ms" => 60000]';
        $first = $this->startPhp($this->member('if ($record[0] === "A") { throw new DomainException("no"); }', $wait));
        self::eventually(fn (): bool => count($this->notedDone()) === 4, 'the others are handled');
        $second = $this->startPhp($this->member(''));
        self::eventually(fn (): bool => count($this->assigned($second)) === 2, 'two partitions move', 20.0);
        $moved = $this->assigned($second);
        $expected = array_map(static fn (int $partition) => "A$partition done", $moved);
        self::eventually(
            fn (): bool => array_diff($expected, $this->noted()) === [],
            'their new owner handles what waited there: ' . implode(' ', $this->noted())
        );
        $this->end($first, $second);
        $left = $this->left();
        foreach (array_diff(range(0, 3), $moved) as $kept) {
            self::assertContains("A$kept", $left, 'what stayed waits on');
        }
        self::assertSame([], $this->letters());
    }

    public function testALostPartitionIsNotCommitted(): void
    {
        $this->produce(array_map(static fn (int $i) => "A$i", range(1, 10)));
        $config = '["consumer_config" => ["auto.commit.interval.ms" => 60000]]';
        $first = $this->startPhp($this->member('if ($record === "A4") { echo "busy\n"; usleep(100000); }', $config));
        $first->waitForOutput('/^busy$/m');
        $first->signal(SIGSTOP);
        // Its session expires; another member handles everything, and commits it.
        $handled = 0;
        $second = $this->broker()->subscribeTopic($this->topic(), static function (Message $m) use (&$handled): void {
            $handled++;
        });
        self::stopWhen($second, static function () use (&$handled): bool {
            return $handled === 10;
        }, 20.0);
        self::assertSame(10, $second->consume());
        $second->close();
        $first->signal(SIGCONT);
        // Long enough for a late commit, if it sent one.
        usleep(300_000);
        $first->signal(SIGTERM)->wait()->assertExit();
        self::assertSame([], $this->left(), 'its older offset has not replaced the newer one');
    }

    public function testAStaticMemberThatRestartsKeepsItsMembership(): void
    {
        $this->produce(['A1', 'B1']);
        foreach ([['A1', 'B1'], ['C1']] as $run => $expected) {
            $broker = $this->consumer([], ['group_instance_id' => 'worker-1']);
            self::assertSame(count($expected), self::within(20.0, $broker)->consume(maxMessages: count($expected)));
            $broker->close();
            self::assertSame($expected, $this->done);
            $this->done = [];
            $run === 0 && $this->produce(['C1']);
        }
    }

    /** @return array<string, array{string}> */
    public static function deliveries(): array
    {
        return ['at-least-once' => ['at-least-once'], 'at-most-once' => ['at-most-once'], 'exactly-once' => ['exactly-once']];
    }

    /** @dataProvider deliveries */
    #[DataProvider('deliveries')]
    public function testABatchThatTakesLongerThanMaxPollIntervalKeepsItsMembership(string $delivery): void
    {
        $records = array_map(static fn (int $i) => "A$i", range(1, 8));
        $this->produce($records);
        $slow = function () use (&$broker): ?Throwable {
            usleep($this->sessionMs * 300);
            count($this->tries) > 8 && $broker->stopConsuming();

            return null;
        };
        $limit = ['max.poll.interval.ms' => $this->sessionMs];
        $broker = $this->consumer($slow, ['delivery' => $delivery, 'consumer_config' => $limit]);
        self::assertSame(8, $broker->consume(maxMessages: 8));
        self::assertSame(1, $broker->stats()['rebalances']);
        $broker->close();
        self::assertSame($records, $this->done, 'each once');
        if (self::isReal() || $delivery !== 'exactly-once') {
            // The embedded broker does not commit the offsets of transactions.
            self::assertSame([], $this->left());
        }
    }

    /** A member that prints each message, and handles it like script(). */
    private function member(string $code, string $config = '[]'): string
    {
        return str_replace('$handled = $broker->consume', <<<'PHP'
            $broker->onAssigned(function (array $partitions) {
                foreach ($partitions as $partition) {
                    echo "assigned $partition[partition]\n";
                }
            });
            $handled = $broker->consume
            PHP, $this->script($code, $config));
    }

    /** @return list<int> */
    private function assigned(ChildProcess $member): array
    {
        preg_match_all('/^assigned (\d+)$/m', $member->stdout(), $matches);

        return array_map('intval', array_values(array_unique($matches[1])));
    }

    /** @return list<string> */
    private function notedDone(): array
    {
        return array_values(preg_grep('/ done$/', $this->noted()) ?: []);
    }

    private function end(ChildProcess ...$members): void
    {
        foreach ($members as $member) {
            $member->signal(SIGTERM)->wait()->assertExit();
        }
    }
}
