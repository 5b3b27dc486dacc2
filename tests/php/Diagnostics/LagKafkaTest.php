<?php

/**
 * realtime:lag on Kafka: members, a thousand groups, offsets out of range, a topic that is deleted in between.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Diagnostics;

use Toporia\Realtime\Tests\Support\CommittedGroups;

final class LagKafkaTest extends OpsTestCase
{
    public function testMembersAndTheirPartitions(): void
    {
        $topic = $this->fill($this->topic(), [3, 3]);
        $broker = $this->broker(['group_instance_id' => 'host-7']);
        $report = [];
        $broker->subscribeTopic($topic, function () use (&$report): void {
            $report = $report ?: $this->json('realtime:lag', ['--sample' => '0']);
        });
        $broker->consume(200, 10, 6);
        [$group] = $report['groups'];
        self::assertSame(['Stable', 'host-7'], [$group['state'], $group['members'][0]['instance']]);
        self::assertSame(6, $group['lag'], 'assigned, and nothing committed yet');
        self::assertSame($group['members'][0]['id'], $group['partitions'][1]['member']);
        $broker->close();
        self::assertSame(0, $this->command('realtime:lag', ['--sample' => '0']));
        self::assertMatchesRegularExpression("~^$this->group +(empty|stable) ~m", $this->output);
    }

    public function testAThousandGroups(): void
    {
        $topic = $this->fill($this->topic(), [1200]);
        // Kafka creates its internal topic for commits with the first group.
        $this->consumeSome($this->group, $topic, 1);
        $groups = [];
        for ($i = 0; $i < 1000; $i++) {
            $groups["$this->group-$i"] = $i;
        }
        CommittedGroups::commit(self::address(), $topic, 0, $groups);
        $start = microtime(true);
        $input = ['--group' => ["$this->group-*"], '--sample' => '0', '--threshold' => '1190'];
        $report = $this->json('realtime:lag', $input, 1);
        self::assertLessThan(30.0, microtime(true) - $start);
        self::assertSame([1000, 1_200_000 - 499_500], [$report['groups_found'], $report['lag']]);
        self::assertSame("$this->group-0", $report['groups'][0]['group'], 'the worst first');
        self::assertCount(10, $report['failures']);

        $all = ['--all' => true, '--limit' => '3', '--sample' => '0', '--threshold' => '1190'];
        self::assertSame(1, $this->command('realtime:lag', $all));
        self::assertMatchesRegularExpression('~: [\d,]+ groups, [\d,]+ records behind; the 3 with the highest lag~', $this->output);
        self::assertStringContainsString('NOT OK: ', $this->output);
        self::assertLessThan(20, substr_count($this->output, "\n"), 'bounded');
        self::assertSame(0, $this->command('realtime:lag', ['--group' => ["nobody$this->group*"]]));
        self::assertStringContainsString('No consumer group', $this->output);
    }

    public function testACommitBelowTheBeginningIsReported(): void
    {
        $topic = $this->fill($this->topic(), [10]);
        $this->consumeSome($this->group, $topic, 2);
        $this->admin->deleteRecords($topic, [0 => 7]);
        [$group] = $this->json('realtime:lag', ['--sample' => '0'])['groups'];
        self::assertSame([3, 'out_of_range'], [$group['lag'], $group['partitions'][0]['mark']]);
        self::assertSame(0, $this->command('realtime:lag', ['--sample' => '0']));
        self::assertStringContainsString(
            "$topic/0 is out of range: 5 records were deleted unread (committed 2, begins at 7)",
            $this->output
        );
    }

    public function testATopicIsDeletedWhileItIsWatched(): void
    {
        $topic = $this->fill($this->topic(), [4]);
        $this->consumeSome($this->group, $topic, 1);
        $child = $this->startConsole(['realtime:lag', '--watch=1'], ['cwd' => $this->app]);
        $child->waitForOutput('~3 records behind~');
        $this->admin->deleteTopic($topic);
        $child->waitForOutput("~topic $topic no longer exists~");
        $child->signal(SIGTERM);
        $result = $child->wait()->assertExit();
        self::assertStringContainsString('0 records behind', $result->stdout);
    }
}
