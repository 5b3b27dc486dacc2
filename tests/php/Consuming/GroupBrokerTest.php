<?php

/**
 * Several members of one group: partitions are shared and moved without loss, and conflicting subscriptions are
 * reported.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Consuming;

use Toporia\Realtime\Admin;
use Toporia\Realtime\Tests\Support\ChildProcess;

final class GroupBrokerTest extends ConsumingTestCase
{
    /** When another member joins, the existing ones have this minus one second to rejoin. */
    protected int $sessionMs = 2000;

    public function testTwoMembersShareThePartitionsWithoutLossOrDuplicates(): void
    {
        $topic = $this->topic();
        $this->send($topic, range(0, 199), null);
        $first = $this->member('first', $topic);
        $this->waitUntilNoted('first assigned', 4);
        if (!self::isReal()) {
            // The embedded broker refuses commits from the moment the second joins; Kafka accepts them on revocation.
            $admin = new Admin($this->config());
            $commits = fn (): array => $admin->offsetsOfGroups([$this->group])[$this->group]['offsets'][$topic] ?? [];
            self::eventually(static fn (): bool => array_sum($commits()) === 200, 'the first half is committed');
            $admin->close();
        }
        $second = $this->member('second', $topic);
        $this->waitUntilNoted('second assigned', 2);
        $this->waitUntilNoted('first revoked', 2);
        $this->send($topic, range(200, 399), null);
        self::eventually(fn (): bool => count(array_unique($this->handled())) === 400, 'all are handled', 20.0);
        $this->end($first, $second);

        $handled = $this->handled();
        sort($handled);
        self::assertSame(range(0, 399), $handled, 'in a clean rebalance nothing comes twice');
        foreach (preg_grep('/^first \S+ revoked/', $this->noted()) ?: [] as $line) {
            self::assertStringEndsWith(' kept', $line, 'onRevoked() says that they were not lost');
        }
        $late = preg_grep('/handled [23]\d\d$/', $this->noted()) ?: [];
        $by = array_count_values(array_map(static fn (string $line) => explode(' ', $line)[0], $late));
        self::assertSame(['first' => 100, 'second' => 100], ['first' => $by['first'], 'second' => $by['second']]);
    }

    public function testARemainingMemberKeepsConsumingWhileOthersJoin(): void
    {
        $topic = $this->topic();
        $this->send($topic, range(0, 3), null);
        $first = $this->member('first', $topic);
        $this->waitUntilNoted('first assigned', 4);
        $second = $this->member('second', $topic);
        // One record per partition all the time; the first member's own partitions must not wait for the rebalance.
        $deadline = microtime(true) + 15.0;
        for ($i = 1; count($this->partitions('second assigned')) < 2 && microtime(true) < $deadline; $i++) {
            $this->send($topic, range($i * 4, $i * 4 + 3), null);
            usleep(50_000);
        }
        $revoked = $this->partitions('first revoked');
        self::assertCount(2, $revoked, 'two are taken away, two stay: ' . implode("\n", $this->noted()));
        $this->end($first, $second);

        $kept = array_values(array_diff([0, 1, 2, 3], $revoked));
        $times = [];
        foreach ($this->noted() as $line) {
            if (preg_match('/^first ([\d.]+) handled (\d+)$/', $line, $m) && $m[2] % 4 === $kept[0]) {
                $times[] = (float) $m[1];
            }
        }
        self::assertGreaterThan(3, count($times));
        $gaps = [];
        for ($i = 1; $i < count($times); $i++) {
            $gaps[] = $times[$i] - $times[$i - 1];
        }
        self::assertLessThan(1.0, max($gaps), 'the longest time without a record of a partition that stayed');
    }

    public function testWhenAMemberLeavesTheOtherTakesOver(): void
    {
        $topic = $this->topic();
        $this->send($topic, range(0, 3), null);
        $first = $this->member('first', $topic);
        $this->waitUntilNoted('first assigned', 4);
        $second = $this->member('second', $topic);
        $this->waitUntilNoted('second assigned', 2);
        $first->signal(SIGTERM)->wait()->assertExit();
        $this->waitUntilNoted('second assigned', 4);
        $this->send($topic, range(4, 43), null);
        self::eventually(fn (): bool => count(array_unique($this->handled())) === 44, 'the other handles all', 15.0);
        $this->end($second);
        $handled = $this->handled();
        sort($handled);
        self::assertSame(range(0, 43), $handled, 'nothing twice, nothing lost');
    }

    public function testARebalanceAtTheEndOfATopicLosesNothing(): void
    {
        $topic = $this->topic();
        $this->send($topic, range(0, 3), null);
        $first = $this->member('first', $topic);
        $this->waitUntilNoted('first assigned', 4);
        self::eventually(fn (): bool => count($this->handled()) === 4, 'it is at the end', 10.0);
        $second = $this->member('second', $topic);
        // In the meantime one record per partition is sent, so that a wrong position would skip it.
        $this->send($topic, range(4, 7), null);
        $this->waitUntilNoted('second assigned', 2);
        $this->send($topic, range(8, 11), null);
        self::eventually(fn (): bool => count(array_unique($this->handled())) === 12, 'all are handled', 10.0);
        $this->end($first, $second);
        $handled = $this->handled();
        sort($handled);
        self::assertSame(range(0, 11), $handled);
    }

    public function testAMemberThatIsKilledIsReplaced(): void
    {
        $topic = $this->topic();
        $this->send($topic, range(0, 3), null);
        $first = $this->member('first', $topic);
        $this->waitUntilNoted('first assigned', 4);
        $second = $this->member('second', $topic);
        $this->waitUntilNoted('second assigned', 2);
        $first->signal(SIGKILL)->wait();
        $this->send($topic, range(4, 43), null);
        self::eventually(fn (): bool => count(array_unique($this->handled())) === 44, 'nothing is lost', 20.0);
        $this->end($second);
    }

    public function testAMemberWithoutPartitionsWaits(): void
    {
        $topic = $this->createTopic($this->topic(), 1);
        $this->send($topic, [0]);
        $first = $this->member('first', $topic);
        $this->waitUntilNoted('first assigned', 1);
        $start = microtime(true);
        $broker = $this->broker()->subscribeTopic($topic, static fn () => null);
        self::assertSame(0, self::within(30.0, $broker)->consume(stopWhenEmpty: true));
        self::assertSame('empty', $broker->stats()['stop_reason']);
        self::assertSame([], $broker->stats()['assigned']);
        self::assertEqualsWithDelta(10.0, microtime(true) - $start, 4.0, 'ten seconds after joining');
        $this->end($first);
    }

    public function testMembersWithOtherSubscriptionsAreReported(): void
    {
        $this->publish('user.1', [1]);
        $first = $this->broker()->subscribe('user.1', static fn () => null);
        $this->drain($first);
        self::assertFalse($first->stats()['member_hash_conflict']);
        $first->close();
        self::assertStringNotContainsString('subscribe different channels', $this->logged());

        $this->publish('user.1', [2]);
        $other = $this->broker()->subscribe('user_1', static fn () => null);
        $this->drain($other);
        self::assertTrue($other->stats()['member_hash_conflict']);
        self::assertSame(1, $other->stats()['skipped']);
        self::assertStringContainsString($this->group, $this->logged());
        self::assertSame(1, substr_count($this->logged(), 'subscribe different channels'), $this->logged());
    }

    public function testMembersWithTheSameSubscriptionsAreNotReported(): void
    {
        $this->publish('user.1', [1]);
        $first = $this->broker()->subscribe('user.1', static fn () => null)->subscribe('user_1', static fn () => null);
        $this->drain($first);
        $first->close();
        $second = $this->broker()->subscribe('user_1', static fn () => null)->subscribe('user.1', static fn () => null);
        $this->drain($second);
        self::assertFalse($second->stats()['member_hash_conflict'], 'the order does not matter');
        self::assertStringNotContainsString('subscribe different channels', $this->logged());
    }

    /** A member in a child process that records the partitions it gets and loses and the messages it handles. */
    private function member(string $name, string $topic): ChildProcess
    {
        $names = '[$name, $topic] = ' . var_export([$name, $topic], true) . ';';

        return $this->startPhp($names . <<<'PHP'
            $notes = fopen(getenv('TEST_NOTES'), 'a');
            $note = function (string $text) use ($notes, $name) {
                fwrite($notes, sprintf("%s %.3f %s\n", $name, microtime(true), $text));
            };
            $broker = new Broker();
            $broker->subscribeTopic($topic, function (Message $message) use ($note) {
                $note('handled ' . $message->getPayload());
            });
            $broker->onAssigned(function (array $partitions) use ($note) {
                foreach ($partitions as $partition) {
                    $note("assigned $partition[partition]");
                }
            });
            $broker->onRevoked(function (array $partitions) use ($note) {
                foreach ($partitions as $partition) {
                    $note("revoked $partition[partition] " . ($partition['lost'] ? 'lost' : 'kept'));
                }
            });
            $broker->consume();
            PHP);
    }

    private function end(ChildProcess ...$members): void
    {
        foreach ($members as $member) {
            $member->signal(SIGTERM);
        }
        foreach ($members as $member) {
            $member->wait()->assertExit();
        }
    }

    /** @return list<int> */
    private function handled(): array
    {
        $handled = [];
        foreach ($this->noted() as $line) {
            if (preg_match('/ handled (\d+)$/', $line, $m)) {
                $handled[] = (int) $m[1];
            }
        }

        return $handled;
    }

    /**
     * @param string $what a member and what happened: "first revoked"
     *
     * @return list<int>
     */
    private function partitions(string $what): array
    {
        [$name, $happened] = explode(' ', $what);
        $partitions = [];
        foreach ($this->noted() as $line) {
            if (preg_match("/^$name \\S+ $happened (\\d+)/", $line, $m)) {
                $partitions[(int) $m[1]] = (int) $m[1];
            }
        }

        return array_values($partitions);
    }

    private function waitUntilNoted(string $what, int $partitions): void
    {
        self::eventually(fn (): bool => count($this->partitions($what)) >= $partitions, "$what $partitions", 20.0);
    }
}
