<?php

/**
 * Every option of realtime:kafka:consume has its documented effect, on a real topic.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Console;

final class ConsumeOptionsBrokerTest extends ConsoleTestCase
{
    public function testChannelsAreAListWithPatterns(): void
    {
        foreach (['user.1', 'user.2', 'order.1', 'order.2'] as $channel) {
            $this->publish($channel, "on-$channel");
        }
        $report = $this->consume('--channels=user.*,order.1 --stop-when-empty');
        self::assertSame(3, $report->summary()['handled'], $report->result->describe());
        self::assertEqualsCanonicalizing(['on-user.1', 'on-user.2', 'on-order.1'], $report->events());
        $again = $this->consume('--channels=user.1 --channels=order.2 --stop-when-empty --group=other' . $this->group);
        self::assertEqualsCanonicalizing(['on-user.1', 'on-order.2'], $again->events());
    }

    public function testBroker(): void
    {
        $this->publish('user.1', 'ours');
        $address = var_export(self::address(), true);
        $this->configure("['brokers' => [
            'kafka' => ['brokers' => $address, 'topic_prefix' => 'elsewhere$this->prefix', 'consumer_group' => 'e'],
            'second' => ['brokers' => $address, 'topic_prefix' => '$this->prefix', 'consumer_group' => '$this->group'],
        ]]");
        $report = $this->consume('--channels=user.1 --stop-when-empty --broker=second');
        self::assertSame(['ours'], $report->events(), $report->result->describe());
        self::assertSame('second', $report->of('start')[0]['broker']);
        self::assertSame($this->group, $report->of('start')[0]['group']);
        $result = $this->console('realtime:kafka:consume --channels=user.1 --broker=third')->assertExit(2);
        self::assertStringContainsString('third', $result->stderr);
    }

    public function testMaxMessagesStopsAfterExactlyThisMany(): void
    {
        $this->publish('user.1', ...array_map(static fn (int $i) => "e$i", range(1, 10)));
        $first = $this->consume('--channels=user.1 --max-messages=3 --batch-size=10');
        self::assertSame(
            ['handled' => 3, 'reason' => 'max_messages'],
            $this->pick($first->summary(), 'handled', 'reason')
        );
        $second = $this->consume('--channels=user.1 --max-messages=4');
        self::assertSame(['e1', 'e2', 'e3'], $first->events());
        self::assertSame(['e4', 'e5', 'e6', 'e7'], $second->events(), 'nothing lost, nothing twice');
    }

    public function testEveryBatchSizeReadsEverything(): void
    {
        $this->publish('user.1', ...array_map(static fn (int $i) => "e$i", range(1, 50)));
        foreach ([1, 7, 1000] as $size) {
            $group = "--group=$this->group-$size";
            $report = $this->consume("--channels=user.1 --stop-when-empty --batch-size=$size $group");
            self::assertSame(50, $report->summary()['handled']);
        }
    }

    public function testStopWhenEmptyStopsAtTheEnd(): void
    {
        $this->publish('user.1', 'a', 'b');
        $report = $this->consume('--channels=user.1 --stop-when-empty');
        self::assertSame(
            ['handled' => 2, 'reason' => 'empty', 'lag' => 0],
            $this->pick($report->summary(), 'handled', 'reason', 'lag')
        );
        self::assertSame(0, $this->consume('--channels=user.1 --stop-when-empty')->summary()['handled']);
    }

    public function testStopWhenEmptyIsDoneWithoutATopic(): void
    {
        $report = $this->consume('--channels=nobody.home --stop-when-empty');
        self::assertSame(['handled' => 0, 'reason' => 'empty'], $this->pick($report->summary(), 'handled', 'reason'));
    }

    public function testWithoutStopWhenEmptyItContinues(): void
    {
        $this->publish('user.1', 'a');
        $child = $this->startConsume('--channels=user.1');
        $child->waitForOutput('/ user\.1  a  /', 30);
        $this->publish('user.1', 'b');
        $child->waitForOutput('/ user\.1  b  /', 30);
        self::assertTrue($child->isRunning());
        $child->signal(15)->wait()->assertExit();
    }

    public function testTimeoutIsALimitAndNotAnInterval(): void
    {
        $this->publish('user.1', 'a', 'b');
        foreach ([1, 20000] as $timeout) {
            $group = "--group=$this->group-$timeout";
            $report = $this->consume("--channels=user.1 --max-messages=2 --timeout=$timeout $group");
            self::assertSame(['a', 'b'], $report->events());
            self::assertLessThan(15, $report->result->seconds, 'what is there does not wait for the timeout');
        }
    }

    public function testEachGroupGetsEverythingAndKeepsItsOffsets(): void
    {
        $this->publish('user.1', 'a', 'b');
        $other = "--group=other$this->group";
        self::assertSame(['a', 'b'], $this->consume('--channels=user.1 --stop-when-empty')->events());
        $report = $this->consume("--channels=user.1 --stop-when-empty $other");
        self::assertSame(['a', 'b'], $report->events());
        self::assertSame("other$this->group", $report->of('start')[0]['group']);
        $this->publish('user.1', 'c');
        self::assertSame(['c'], $this->consume("--channels=user.1 --stop-when-empty $other")->events());
    }

    public function testFromBeginningAndEnd(): void
    {
        $this->publish('user.1', 'a', 'b');
        $this->consume('--channels=user.1 --stop-when-empty')->summary();
        $this->publish('user.1', 'c');
        $end = $this->consume('--channels=user.1 --stop-when-empty --from=end');
        self::assertSame([], $end->events(), $end->result->describe());
        for ($run = 1; $run <= 2; $run++) {
            $report = $this->consume('--channels=user.1 --stop-when-empty --from=beginning');
            self::assertSame(['a', 'b', 'c'], $report->events(), 'a restart repeats it');
            self::assertStringContainsString('a restart with --from seeks again', $report->of('seek')[0]['text']);
        }
        self::assertSame([], $this->consume('--channels=user.1 --stop-when-empty --from=committed')->events());
    }

    public function testFromEndGetsAllOfATopicThatAppearsLater(): void
    {
        $child = $this->startConsume('--channels=user.1 --from=end');
        $child->waitForOutput('/waiting for topic ' . preg_quote($this->channelTopic('user.1'), '/') . '/', 30);
        $this->publish('user.1', 'first');
        $child->waitForOutput('/ user\.1  first  /', 30);
        $child->signal(15)->wait()->assertExit();
    }

    public function testMaxTime(): void
    {
        $report = $this->consume('--channels=user.1 --max-time=1 --timeout=10000');
        self::assertSame('max_time', $report->summary()['reason']);
        self::assertGreaterThan(1.0, $report->result->seconds);
        self::assertLessThan(8.0, $report->result->seconds, 'a poll of 10 s does not hold it up');
    }

    public function testMaxMemory(): void
    {
        self::assertSame('max_memory', $this->consume('--channels=user.1 --max-memory=1M')->summary()['reason']);
        $report = $this->consume('--channels=user.1 --max-memory=4G --max-time=1');
        self::assertSame('max_time', $report->summary()['reason']);
    }

    public function testJsonIsOneObjectALine(): void
    {
        $this->publish('user.1', 'a');
        $report = $this->consume('--channels=user.1 --stop-when-empty');
        self::assertSame('start', $report->objects[0]['type']);
        self::assertSame([$this->channelTopic('user.1')], array_unique(
            array_column($report->of('assigned')[0]['partitions'], 'topic')
        ));
        $message = $report->of('message')[0];
        self::assertSame(['of' => 'user.1'], $message['message']['data']);
        self::assertSame($this->channelTopic('user.1'), $message['topic']);
        self::assertSame(0, $message['offset']);
        self::assertSame('', $report->result->stderr);
        $report->summary();
    }

    public function testTheTextOutputNamesTheWorkerAndItsResults(): void
    {
        $this->publish('user.1', 'a');
        $result = $this->console('realtime:kafka:consume --channels=user.1 --stop-when-empty')->assertExit();
        $topic = preg_quote($this->channelTopic('user.1'), '/');
        foreach (
            ["/broker 'kafka' as group '$this->group'/", '/channels  user\.1/', '/printed/', "/assigned: $topic \\[/",
            '/ user\.1  a  \{"of":"user\.1"\}/', '/Reached the end of all partitions\. 1 handled/'] as $regex
        ) {
            self::assertMatchesRegularExpression($regex, $result->stdout);
        }
    }

    public function testAnInvalidChannelIsWrongUsage(): void
    {
        $result = $this->console('realtime:kafka:consume --channels=' . str_repeat('x', 300))->assertExit(2);
        self::assertStringContainsString('--channels: ', $result->stderr);
    }

    /**
     * @param array<string, mixed> $all
     *
     * @return array<string, mixed>
     */
    private function pick(array $all, string ...$keys): array
    {
        return array_replace(array_flip($keys), array_intersect_key($all, array_flip($keys)));
    }
}
