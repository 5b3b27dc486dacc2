<?php

/**
 * The dead-letter commands as processes: no terminal, signals, a kill half-way, an unreachable Kafka.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Dlq;

use Toporia\Realtime\Admin;
use Toporia\Realtime\Message;

final class CommandProcessesBrokerTest extends DlqTestCase
{
    public function testListShowAndReplayInAnApplication(): void
    {
        $topic = $this->createTopic($this->topic());
        $dead = $this->createTopic($this->dead($topic));
        $this->send($topic, ['{"order":7}']);
        $this->consumeAs('g', $topic, self::always("no\e[31m order"));
        $list = $this->console('realtime:dlq:list')->assertExit();
        self::assertMatchesRegularExpression('~^AGE +LETTER +GROUP +EVENT +CLASS +ATTEMPTS +REPLAYS$~m', $list->stdout);
        self::assertMatchesRegularExpression("~^\d+s +$dead/0/0 +\S+-g +- +DomainException +1 +0$~m", $list->stdout);
        self::assertStringContainsString("$topic-0-0  no\\u001b[31m order", $list->stdout);
        self::assertStringContainsString('1 dead letter.', $list->stdout);
        $show = $this->console("realtime:dlq:show $dead/0/0")->assertExit();
        self::assertStringContainsString("  {\n    \"order\": 7\n  }", $show->stdout);
        self::assertStringContainsString("x-original-group: $this->group-g", $show->stdout);

        $refused = $this->console('realtime:dlq:replay --all')->assertExit(2);
        self::assertStringContainsString('Use --yes', $refused->stderr);
        $replay = $this->console('realtime:dlq:replay --all --yes')->assertExit();
        self::assertSame("  1 letter to $topic for the group $this->group-g\n1 letter replayed.\n", $replay->stdout);
        self::assertCount(1, $this->consumeAs('g', $topic));
        $hidden = $this->console('realtime:dlq:list')->assertExit();
        self::assertSame("No dead letters; 1 replayed letter hidden (--all shows them).\n", $hidden->stdout);
    }

    public function testNoDeadLettersAndNoKafka(): void
    {
        $none = $this->console('realtime:dlq:list')->assertExit();
        self::assertSame('', $none->stdout);
        self::assertStringContainsString("Kafka has no topic {$this->dlqPrefix()}.…", $none->stderr);
        $down = ['env' => ['KAFKA_BROKERS' => '127.0.0.1:1'], 'cwd' => $this->app];
        $children = [];
        foreach (['list', 'show x', 'replay --all --yes', 'purge --all --yes'] as $command) {
            $children[] = $this->startConsole(explode(' ', "realtime:dlq:$command"), $down);
        }
        foreach ($children as $child) {
            $result = $child->wait()->assertExit(1);
            self::assertStringContainsString('127.0.0.1:1', $result->stderr);
            self::assertLessThan(15.0, $result->seconds);
        }
    }

    public function testAKilledReplayLosesNothingAndRepeatsAtMostABatch(): void
    {
        [$topic, $sent] = $this->manyLetters(3000);
        $child = $this->startConsole(['realtime:dlq:replay', '--all', '--yes'], ['cwd' => $this->app]);
        self::eventually(fn (): bool => $this->topicEnd($topic) > 3300, 'some were replayed');
        $child->signal(SIGKILL);
        $child->wait();
        $this->replayAll();
        self::assertSame([], $this->listed());
        $got = array_count_values($this->payloads($topic));
        self::assertSame([], array_diff($sent, array_map('strval', array_keys($got))), 'none is missing');
        self::assertLessThanOrEqual(3100, array_sum($got), 'at most one batch came twice');
    }

    public function testSigtermEndsItCleanly(): void
    {
        [$topic, $sent] = $this->manyLetters(3000);
        $child = $this->startConsole(['realtime:dlq:replay', '--all', '--yes'], ['cwd' => $this->app]);
        self::eventually(fn (): bool => $this->topicEnd($topic) > 3300, 'some were replayed');
        $child->signal();
        $result = $child->wait()->assertExit();
        self::assertStringContainsString('stopped early', $result->stdout);
        self::assertSame(1, preg_match('/^([\d,]+) letters? replayed/m', $result->stdout, $match), $result->describe());
        $first = (int) str_replace(',', '', $match[1]);
        self::assertSame(3000 - $first, $this->replayAll()['replayed']);
        $got = $this->payloads($topic);
        sort($got);
        sort($sent);
        self::assertSame($sent, $got, 'each came once');
    }

    /**
     * A topic whose records all failed.
     *
     * @return array{string, list<string>} its name, the records
     */
    private function manyLetters(int $count): array
    {
        $topic = $this->createTopic($this->topic());
        $this->createTopic($this->dead($topic));
        $sent = array_map(static fn (int $i): string => "n$i", range(1, $count));
        $this->send($topic, $sent);
        self::assertCount($count, $this->consumeAs('g', $topic, self::always()));

        return [$topic, $sent];
    }

    /**
     * The records that the failed group still gets, up to the end of the topic.
     *
     * @return list<string>
     */
    private function payloads(string $topic): array
    {
        return array_map(
            static fn (Message $message): string => (string) $message->getPayload(),
            $this->consumeAs('g', $topic)
        );
    }

    private function topicEnd(string $topic): int
    {
        $admin = new Admin($this->config());
        $end = array_sum(array_column($admin->offsets($topic), 'end'));
        $admin->close();

        return $end;
    }
}
