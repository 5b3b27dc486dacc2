<?php

/**
 * realtime:lag on both brokers: committed, end, rates, limits and exit codes.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Diagnostics;

final class LagBrokerTest extends OpsTestCase
{
    public function testTheGroupOfTheConfiguration(): void
    {
        $topic = $this->fill($this->topic(), [10, 0]);
        $this->consumeSome($this->group, $topic, 4);
        $report = $this->json('realtime:lag', ['--sample' => '0']);
        self::assertSame([true, 6, 1], [$report['ok'], $report['lag'], $report['groups_found']]);
        [$group] = $report['groups'];
        self::assertSame([$this->group, 6, null], [$group['group'], $group['lag'], $group['error']]);
        self::assertNull($group['produced_per_second'], 'one look gives no rates');
        self::assertSame(self::isReal(), $group['members'] !== null);
        self::assertSame([4, 0, 10, 6, null], self::place($group['partitions'][0]));
        self::assertSame([null, 0, 0, 0, null], self::place($group['partitions'][1]), 'empty: nothing to commit');

        self::assertSame(0, $this->command('realtime:lag', ['--sample' => '0']));
        self::assertStringContainsString(self::address() . ': 1 group, 6 records behind', $this->output);
        self::assertMatchesRegularExpression("~^$topic +0 +4 +10 +6$~m", $this->output);
    }

    public function testTheLimitsAreAnExitCode(): void
    {
        $topic = $this->fill($this->topic(), [10]);
        $this->consumeSome($this->group, $topic, 4);
        self::assertSame(0, $this->command('realtime:lag', ['--sample' => '0', '--threshold' => '6']));
        self::assertStringContainsString('OK: it is within the limits.', $this->output);
        self::assertSame(1, $this->command('realtime:lag', ['--sample' => '0', '--threshold' => '5']));
        self::assertStringContainsString("$this->group: 6 records behind, 5 allowed", $this->output);
        self::assertSame(1, $this->command('realtime:lag', ['--sample' => '1', '--max-seconds' => '60']));
        self::assertStringContainsString('6 records behind, and nothing is consumed; 1 min allowed', $this->output);
        $this->consumeSome($this->group, $topic, 6);
        self::assertSame(0, $this->command('realtime:lag', ['--sample' => '1', '--max-seconds' => '0']));
    }

    public function testAMissingGroup(): void
    {
        self::assertSame(0, $this->command('realtime:lag', ['--sample' => '0', '--group' => ['nobody', 'none']]));
        self::assertStringContainsString('nobody, none: the group does not exist', $this->output);
        $report = $this->json('realtime:lag', ['--group' => ['nobody'], '--threshold' => '9', '--sample' => '0'], 1);
        self::assertStringContainsString('Is the name correct?', $report['failures']['nobody']);
    }

    public function testWithoutACommitTheLagCountsFromTheBeginning(): void
    {
        $topic = $this->fill($this->topic(), [3, 5]);
        $broker = $this->broker();
        $broker->subscribeTopic($topic, static fn () => null);
        $broker->onAssigned(static function () use ($broker, $topic): void {
            $broker->pause($topic, 1);
        });
        $broker->consume(200, 10, 3);
        $broker->close();
        [$group] = $this->json('realtime:lag', ['--sample' => '0'])['groups'];
        self::assertSame(5, $group['lag']);
        self::assertSame([null, 0, 5, 5, 'no_commit'], self::place($group['partitions'][1]));
        self::assertSame(['1 partition without a committed offset: the lag counts from the beginning.'], $group['notes']);
    }

    public function testRatesNeedTwoSamples(): void
    {
        $topic = $this->fill($this->topic(), [1]);
        $this->consumeSome($this->group, $topic, 1);
        $child = $this->startPhp(<<<PHP
            \$broker = Realtime::broker();
            for (\$i = 0; \$i < 200; \$i++) {
                \$broker->send('$topic', 'x');
                usleep(20_000);
            }
            PHP);
        self::eventually(fn (): bool => $this->admin->offsets($topic)[0]['end'] > 1, 'it writes');
        [$group] = $this->json('realtime:lag', ['--sample' => '1'])['groups'];
        $child->signal(SIGKILL);
        $child->wait();
        self::assertGreaterThan(5.0, $group['produced_per_second']);
        self::assertLessThan(60.0, $group['produced_per_second']);
        self::assertSame(0.0, (float) $group['consumed_per_second']);
        self::assertNull($group['catches_up_in_seconds']);
        self::assertStringStartsWith('never: ', $group['outlook']);
    }

    public function testWatchingEndsWithASignalAndTheLastResult(): void
    {
        $topic = $this->fill($this->topic(), [4]);
        $this->consumeSome($this->group, $topic, 1);
        $watch = ['realtime:lag', '--watch=1', '--threshold=2', '--json'];
        $child = $this->startConsole($watch, ['cwd' => $this->app]);
        $child->waitForOutput('~"sample_seconds":1~');
        $child->signal(SIGINT);
        $result = $child->wait()->assertExit(1);
        $first = (array) json_decode($result->lines()[0], true);
        self::assertSame([false, 3], [$first['ok'], $first['lag']]);
        self::assertLessThan(10.0, $result->seconds);
    }

    public function testAnUnreachableKafkaAndWrongUsage(): void
    {
        $down = ['env' => ['KAFKA_BROKERS' => '127.0.0.1:1'], 'cwd' => $this->app];
        $child = $this->startConsole(['realtime:lag', '--threshold=1'], $down);
        $watching = $this->startConsole(['realtime:lag', '--watch=1'], $down);
        $wrong = [
            ['--threshold' => 'x'], ['--all' => true, '--group' => ['a']], ['--group' => ['']], ['--watch' => '0'],
            ['--max-seconds' => '5', '--sample' => '0'], ['--limit' => '-1'],
        ];
        foreach ($wrong as $input) {
            self::assertSame(2, $this->command('realtime:lag', $input), (string) json_encode($input));
        }
        $result = $child->wait()->assertExit(1);
        self::assertStringContainsString('127.0.0.1:1', $result->stderr);
        $watching->waitForOutput('~\d\d:\d\d:\d\d .*127\.0\.0\.1:1 did not respond~');
        $watching->signal(SIGINT);
        self::assertLessThan(14.0, $watching->wait()->assertExit(1)->seconds, 'at once, though Kafka is silent');
    }

    /**
     * @param array<string, mixed> $partition
     *
     * @return list<mixed>
     */
    private static function place(array $partition): array
    {
        return [
            $partition['committed'], $partition['beginning'], $partition['end'], $partition['lag'], $partition['mark'],
        ];
    }
}
