<?php

/**
 * What two looks at a group say: lag, rates, when it has caught up; and the limits.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Unit\Ops;

use PHPUnit\Framework\TestCase;
use Toporia\Realtime\Ops\GroupLag;
use Toporia\Realtime\Ops\GroupLook;
use Toporia\Realtime\Ops\LagOptions;
use Toporia\Realtime\Ops\LagReport;
use Toporia\Realtime\Ops\PartitionLag;

final class GroupLagTest extends TestCase
{
    public function testLagAndMarksOfAPartition(): void
    {
        $of = static fn (?int $committed, int $beginning, int $end): array => [
            ($partition = new PartitionLag('t', 0, $committed, $beginning, $end))->lag(),
            $partition->mark(),
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
            'never: falls behind' => [[0, 1000], [20, 1100]],
            'never: stands still' => [[5, 10], [5, 10]],
        ];
        foreach ($outlooks as $words => [$before, $now]) {
            $lag = new GroupLag(self::look($now), self::look($before), 2.0);
            self::assertSame($words, $lag->outlook());
        }
        $lag = new GroupLag(self::look([200, 1100]), self::look([0, 1000]), 2.0);
        self::assertSame([50.0, 100.0, 9.0, 18.0], [$lag->produced, $lag->consumed, $lag->behind(), $lag->catchesUp()]);
        self::assertSame([50.0, 100.0], $lag->rates($lag->now->partitions[0]));
    }

    public function testWhatGoesBackIsNoRate(): void
    {
        $lag = new GroupLag(self::look([0, 5]), self::look([90, 100]), 2.0);
        self::assertSame([0.0, 0.0], [$lag->produced, $lag->consumed]);
        $first = new GroupLag(self::look([0, 5]));
        self::assertSame([null, null, null, ''], [$first->produced, $first->behind(), $first->catchesUp(), $first->outlook()]);
    }

    public function testNobodyReadsAGroupWithoutMembers(): void
    {
        $look = new GroupLook('g', state: 'Empty', members: [], partitions: [new PartitionLag('t', 0, 1, 0, 2)]);
        self::assertSame('never: nobody reads', (new GroupLag($look))->outlook());
        self::assertNull($look->reader($look->partitions[0]));
    }

    public function testTheWorstComesFirstAndLimitsNameTheirReason(): void
    {
        $options = LagOptions::of(['broker' => 'kafka', 'sample' => '2', 'threshold' => '10', 'max-seconds' => '5']);
        $looks = [
            'fine' => self::look([9, 10], 'fine'),
            'far' => self::look([0, 1000], 'far'),
            'still' => self::look([2, 5], 'still'),
            'odd' => new GroupLook('odd', 'Kafka does not tell.'),
        ];
        $before = ['fine' => self::look([1, 2], 'fine'), 'far' => $looks['far'], 'still' => $looks['still']];
        $report = new LagReport('k:1', $looks, $before, 2.0, 0.0, $options);
        $names = array_map(static fn (GroupLag $group): string => $group->now->group, $report->groups);
        self::assertSame(['odd', 'far', 'still', 'fine'], $names);
        self::assertSame([
            'odd' => 'Kafka does not tell.',
            'far' => '1,000 records behind, 10 allowed',
            'still' => '3 records behind, and nothing is consumed; 5 s allowed',
        ], $report->failures);
        self::assertSame(1004, $report->lag());
    }

    public function testATopicThatIsGoneWithItsCommitsIsRemembered(): void
    {
        $look = self::look([1, 2])->since(['t', 'gone']);
        self::assertSame(['gone'], $look->deleted);
        self::assertSame(['topic gone is not there any more: it was deleted.'], LagReport::notes($look));
    }

    /** @param array{int, int} $at committed, end */
    private static function look(array $at, string $group = 'g'): GroupLook
    {
        return new GroupLook($group, state: 'Stable', partitions: [new PartitionLag('t', 0, $at[0], 0, $at[1])]);
    }
}
