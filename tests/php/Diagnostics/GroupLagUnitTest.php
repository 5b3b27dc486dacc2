<?php

/**
 * Two samples of a group: lag, rates, time until it has caught up; and the limits.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Diagnostics;

use PHPUnit\Framework\TestCase;
use Toporia\Realtime\Diagnostics\GroupLag;
use Toporia\Realtime\Diagnostics\GroupSnapshot;
use Toporia\Realtime\Diagnostics\LagOptions;
use Toporia\Realtime\Diagnostics\LagReport;
use Toporia\Realtime\Diagnostics\PartitionLag;

final class GroupLagUnitTest extends TestCase
{
    public function testLagAndMarksOfAPartition(): void
    {
        $of = static fn (?int $committed, int $beginning, int $end): array => [
            ($partition = new PartitionLag('t', 0, $committed, $beginning, $end))->lag(),
            $partition->anomaly(),
            $partition->lost(),
        ];
        self::assertSame([3, null, 0], $of(7, 0, 10));
        self::assertSame([0, null, 0], $of(10, 10, 10));
        self::assertSame([6, PartitionLag::NO_COMMIT, 0], $of(null, 4, 10));
        self::assertSame([0, null, 0], $of(null, 4, 4), 'empty');
        self::assertSame([6, PartitionLag::OUT_OF_RANGE, 3], $of(1, 4, 10));
        self::assertSame([0, PartitionLag::AHEAD, 0], $of(12, 4, 10));
    }

    public function testWhenItHasCaughtUp(): void
    {
        // before: committed, end; now: committed, end; two seconds between
        $outlooks = [
            'yes' => [[8, 8], [10, 10]],
            'keeps up' => [[0, 100], [200, 300]],
            '18 s' => [[0, 1000], [200, 1100]],
            'never: lag is growing' => [[0, 1000], [20, 1100]],
            'never: not consuming' => [[5, 10], [5, 10]],
        ];
        foreach ($outlooks as $words => [$before, $now]) {
            $lag = new GroupLag(self::snapshot($now), self::snapshot($before), 2.0);
            self::assertSame($words, $lag->forecast());
        }
        $lag = new GroupLag(self::snapshot([200, 1100]), self::snapshot([0, 1000]), 2.0);
        self::assertSame([50.0, 100.0, 9.0, 18.0], [$lag->produced, $lag->consumed, $lag->behind(), $lag->catchesUp()]);
        self::assertSame([50.0, 100.0], $lag->rates($lag->now->partitions[0]));
    }

    public function testADecreaseHasNoRate(): void
    {
        $lag = new GroupLag(self::snapshot([0, 5]), self::snapshot([90, 100]), 2.0);
        self::assertSame([0.0, 0.0], [$lag->produced, $lag->consumed]);
        $first = new GroupLag(self::snapshot([0, 5]));
        self::assertSame([null, null, null, ''], [$first->produced, $first->behind(), $first->catchesUp(), $first->forecast()]);
    }

    public function testAGroupWithoutMembersIsReported(): void
    {
        $snapshot = new GroupSnapshot('g', state: 'Empty', members: [], partitions: [new PartitionLag('t', 0, 1, 0, 2)]);
        self::assertSame('never: no consumer', (new GroupLag($snapshot))->forecast());
        self::assertNull($snapshot->reader($snapshot->partitions[0]));
    }

    public function testTheWorstIsFirstAndLimitsNameTheirReason(): void
    {
        $options = LagOptions::of(['broker' => 'kafka', 'sample' => '2', 'threshold' => '10', 'max-seconds' => '5']);
        $snapshots = [
            'fine' => self::snapshot([9, 10], 'fine'),
            'far' => self::snapshot([0, 1000], 'far'),
            'still' => self::snapshot([2, 5], 'still'),
            'odd' => new GroupSnapshot('odd', 'Kafka reports nothing.'),
        ];
        $before = ['fine' => self::snapshot([1, 2], 'fine'), 'far' => $snapshots['far'], 'still' => $snapshots['still']];
        $report = new LagReport('k:1', $snapshots, $before, 2.0, 0.0, $options);
        $names = array_map(static fn (GroupLag $group): string => $group->now->group, $report->groups);
        self::assertSame(['odd', 'far', 'still', 'fine'], $names);
        self::assertSame([
            'odd' => 'Kafka reports nothing.',
            'far' => '1,000 records behind, 10 allowed',
            'still' => '3 records behind, and nothing is consumed; 5 s allowed',
        ], $report->failures);
        self::assertSame(1004, $report->lag());
    }

    public function testATopicThatIsGoneWithItsCommitsIsRemembered(): void
    {
        $snapshot = self::snapshot([1, 2])->withSeenTopics(['t', 'gone']);
        self::assertSame(['gone'], $snapshot->deleted);
        self::assertSame(['topic gone no longer exists: it was deleted.'], LagReport::notes($snapshot));
    }

    /** @param array{int, int} $at committed, end */
    private static function snapshot(array $at, string $group = 'g'): GroupSnapshot
    {
        return new GroupSnapshot($group, state: 'Stable', partitions: [new PartitionLag('t', 0, $at[0], 0, $at[1])]);
    }
}
