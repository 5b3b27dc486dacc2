<?php

/**
 * The output of a worker for people and for programs.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Worker;

use PHPUnit\Framework\TestCase;
use RuntimeException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Worker\ConsumeOptions;
use Toporia\Realtime\Worker\Snapshot;
use Toporia\Realtime\Worker\StateWatch;
use Toporia\Realtime\Worker\ConsumeReporter;

final class ReportersUnitTest extends TestCase
{
    private FakeTerminal $terminal;

    protected function setUp(): void
    {
        $this->terminal = new FakeTerminal();
    }

    public function testTheFirstLinesNameTheWorker(): void
    {
        $options = ConsumeOptions::fromArray([
            'channels' => 'user.1,order.*',
            'from' => 'beginning',
            'max-messages' => 5,
            'max-time' => 1,
            'max-memory' => '64',
            'stop-when-empty' => true,
        ]);
        (new ConsumeReporter($this->terminal))->start($options, 'workers', 'handled by H');
        $text = $this->terminal->text();
        foreach (
            ["broker 'kafka' as group 'workers'", 'user.1, order.*', 'handled by H', 'the beginning, once per',
            'a restart with --from seeks again', 'after 5 messages, after 1 second, above 64.0 MB, when empty'] as $part
        ) {
            self::assertStringContainsString($part, $text);
        }
    }

    public function testProgressRewritesOneLineOnATerminal(): void
    {
        $this->terminal = new FakeTerminal(true);
        $reporter = new ConsumeReporter($this->terminal);
        foreach ([[0.2, 10], [1.0, 1000], [1.2, 1100], [2.0, 3000]] as [$seconds, $handled]) {
            $reporter->progress($this->snapshot($seconds, $handled));
        }
        self::assertSame([], $this->terminal->lines);
        self::assertSame(
            ['1,000 handled, 1,000/s, lag 5, 0 failures', '3,000 handled, 2,000/s, lag 5, 0 failures'],
            $this->terminal->statuses
        );
        $reporter->summary(3000, 0, 2.0, 'empty', 0, []);
        self::assertSame('', end($this->terminal->statuses), 'what moved does not stay behind');
    }

    public function testTheStatusMakesRoomForTheHandlersOutput(): void
    {
        $watched = new FakeTerminal(true);
        (new ConsumeReporter($watched))->beforeHandler();
        self::assertSame([''], $watched->statuses);
        (new ConsumeReporter($this->terminal))->beforeHandler();
        self::assertSame([], $this->terminal->statuses);
        self::assertSame([], $this->terminal->lines);
    }

    public function testProgressIsALinePerIntervalElsewhere(): void
    {
        $reporter = new ConsumeReporter($this->terminal);
        for ($seconds = 1; $seconds <= 25; $seconds++) {
            $reporter->progress($this->snapshot((float) $seconds, $seconds));
        }
        self::assertCount(2, $this->terminal->lines);
        self::assertSame([], $this->terminal->statuses);
    }

    public function testProgressShowsErrors(): void
    {
        $reporter = new ConsumeReporter($this->terminal, false, 0.0);
        $reporter->progress(new Snapshot(1.0, 0, 2, -1, false, [], "refused\n"));
        $reporter->progress(new Snapshot(2.0, 0, 1, -1, true, ['a', 'b'], null));
        self::assertStringEndsWith(
            '0 handled, 0/s, lag unknown, 2 failures, Kafka is not reachable, last error: refused\n',
            $this->terminal->lines[0]
        );
        self::assertStringEndsWith('1 failure, waiting for 2 topics', $this->terminal->lines[1]);
    }

    public function testTheSummaryOfTheTextOutput(): void
    {
        (new ConsumeReporter($this->terminal))->summary(
            1234,
            3,
            2.0,
            'signal',
            0,
            ['failures' => 9, 'dead_lettered' => 2, 'skipped' => 7, 'topic_mismatch' => 2, 'lag' => 0]
        );
        self::assertSame(
            'Stopped by a signal. 1,234 handled in 2.0 s (617/s), 9 failures, 2 dead-lettered, 3 unhandled, 7 skipped, '
            . '2 from another topic, lag 0.',
            $this->terminal->text()
        );
    }

    public function testAFailureNamesTheErrorAndTheRecord(): void
    {
        $reporter = new ConsumeReporter($this->terminal);
        $reporter->failure(new RuntimeException("broken\e"));
        self::assertStringContainsString('FAILED: RuntimeException: broken\u001b', $this->terminal->text());
        self::assertStringContainsString(__FILE__ . ' line ' . (__LINE__ - 2), $this->terminal->text());
    }

    public function testBrokenDataIsShownAsBroken(): void
    {
        $message = Message::fromJson('{"id":"i","channel":"a","event":"b","data":{tru}}');
        (new ConsumeReporter($this->terminal))->message($message);
        (new ConsumeReporter($this->terminal, true))->message($message);
        self::assertStringContainsString('broken data', $this->terminal->lines[0]);
        self::assertIsString(json_decode($this->terminal->lines[1], true)['message']['broken']);
    }

    public function testJsonIsOneObjectALineAndTheSummaryTheLast(): void
    {
        $reporter = new ConsumeReporter($this->terminal, true, 1.0);
        $reporter->start(ConsumeOptions::fromArray(['channels' => 'a']), 'g', 'printed');
        $reporter->event('assigned', 'assigned: a', ['partitions' => [['topic' => 'a', 'partition' => 0]]]);
        $reporter->message(Message::event('a', "b\xc3\xa9", ['x' => 1])->withKey("\xff"));
        $reporter->progress($this->snapshot(0.5, 1));
        $reporter->progress($this->snapshot(1.0, 10));
        $reporter->failure(new RuntimeException('why'));
        $reporter->summary(10, 0, 1.5, 'error', 1, ['lag' => -1, 'failures' => 1]);
        $objects = array_map(static fn (string $line) => json_decode($line, true), $this->terminal->lines);
        self::assertSame(
            ['start', 'assigned', 'message', 'progress', 'error', 'summary'],
            array_column($objects, 'type')
        );
        self::assertSame(['g', ['a'], getmypid()], [$objects[0]['group'], $objects[0]['channels'], $objects[0]['pid']]);
        self::assertSame(['x' => 1], $objects[2]['message']['data']);
        self::assertSame([10, 10], [$objects[3]['handled'], $objects[3]['rate']]);
        self::assertSame('why', $objects[4]['message']);
        self::assertSame(
            ['error', 1, 10, 1, null],
            [$objects[5]['reason'], $objects[5]['exit_code'], $objects[5]['handled'], $objects[5]['failures'],
            $objects[5]['lag']]
        );
        foreach ($objects as $object) {
            self::assertNotFalse(strtotime($object['time']));
        }
    }

    public function testLosingAndRegainingKafkaIsReportedOnceEach(): void
    {
        $watch = new StateWatch(new ConsumeReporter($this->terminal));
        $watch->update(new Snapshot(0.2, 0, 0, -1, false, [], null));
        self::assertSame([], $this->terminal->lines, 'a first connection takes a moment');
        $watch->update(new Snapshot(0.4, 0, 0, -1, false, [], 'connection refused'));
        $watch->update(new Snapshot(0.6, 0, 0, -1, false, [], 'connection refused'));
        $watch->update(new Snapshot(5.0, 0, 0, 0, true, [], 'connection refused'));
        $watch->update(new Snapshot(5.2, 0, 0, 0, true, [], 'connection refused'));
        self::assertCount(2, $this->terminal->lines);
        self::assertStringContainsString('waiting for Kafka: connection refused', $this->terminal->lines[0]);
        self::assertStringContainsString('Kafka is reachable again', $this->terminal->lines[1]);
    }

    public function testAMissingResponseIsReportedAfterAWhile(): void
    {
        $watch = new StateWatch(new ConsumeReporter($this->terminal));
        foreach ([0.2, 1.0, 2.1, 2.3] as $seconds) {
            $watch->update(new Snapshot($seconds, 0, 0, -1, false, [], null));
        }
        self::assertCount(1, $this->terminal->lines);
        self::assertStringContainsString('waiting for Kafka: no response yet', $this->terminal->lines[0]);
    }

    public function testMissingTopicsAreNamedWheneverTheyChange(): void
    {
        $watch = new StateWatch(new ConsumeReporter($this->terminal));
        foreach ([['a'], ['a'], ['b', 'a'], ['a', 'b'], [], ['a']] as $i => $topics) {
            $watch->update(new Snapshot((float) $i, 0, 0, 0, true, $topics, null));
        }
        self::assertCount(3, $this->terminal->lines);
        self::assertStringContainsString('waiting for topic a (', $this->terminal->lines[0]);
        self::assertStringContainsString('waiting for topics a, b (', $this->terminal->lines[1]);
    }

    public function testAWaitForADependencyIsReportedOnceAndItsEndOnce(): void
    {
        $watch = new StateWatch(new ConsumeReporter($this->terminal));
        $states = [
            [1, 200, []], [0, 0, []],
            [1, 1100, []], [3, 1300, ['user.*']], [3, 1500, []], [0, 0, []], [0, 0, []],
            [0, 0, ['user.*']], [1, 300, ['user.*']], [0, 0, []],
        ];
        foreach ($states as $i => [$waiting, $ms, $open]) {
            $why = 'RuntimeException: the database is away';
            $watch->update(new Snapshot(10.0 + $i, 0, 0, 0, true, [], null, $waiting, $ms, $open, $why));
        }
        self::assertSame([
            'waiting: 1 message will be retried until the handler succeeds: RuntimeException: the database is away',
            'the handlers succeed again, after 4.1 s',
            'waiting: the handler fails for every message of user.*; single messages are retried until it succeeds: '
                . 'RuntimeException: the database is away',
            'the handlers succeed again, after 2 s',
        ], array_map(static fn (string $line): string => substr($line, 10), $this->terminal->lines));
    }

    public function testASnapshotIsCreatedFromTheStats(): void
    {
        $snapshot = Snapshot::of(
            ['handled' => 5, 'failures' => 1, 'lag' => 3, 'connected' => true, 'waiting_for' => ['a']]
            + ['last_error' => 'e'],
            2.0
        );
        self::assertSame(
            [5, 1, 3, true, ['a'], 'e', 2.5],
            [$snapshot->handled, $snapshot->failures, $snapshot->lag, $snapshot->connected, $snapshot->waitingFor,
            $snapshot->lastError, $snapshot->rateSince(null)]
        );
    }

    private function snapshot(float $seconds, int $handled): Snapshot
    {
        return new Snapshot($seconds, $handled, 0, 5, true, [], null);
    }
}
