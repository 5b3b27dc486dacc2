<?php

/**
 * delivery: at-most-once: offsets are committed before the records are handled, so no record is handled twice.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Delivery;

use DomainException;
use Throwable;
use Toporia\Realtime\EmbeddedBroker;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Message;

final class AtMostOnceBrokerTest extends DeliveryTestCase
{
    /** @param array<string, mixed> $config */
    protected function config(array $config = []): array
    {
        return parent::config($config + ['delivery' => 'at-most-once']);
    }

    public function testEveryRecordIsHandledOnce(): void
    {
        $this->produce(['A1', 'B1', 'C1', 'D1']);
        $broker = $this->consumer();
        self::assertSame(4, $this->drain($broker));
        self::assertSame(['A1', 'B1', 'C1', 'D1'], $this->done);
        self::assertSame('at-most-once', $broker->stats()['delivery']);
        $broker->close();
        self::assertSame([], $this->left());
    }

    public function testItIsCommittedBeforeTheCallback(): void
    {
        $this->produce(['A1', 'B1', 'C1']);
        $committed = [];
        $broker = $this->consumer();
        $broker->subscribeTopic($this->topic(), function () use ($broker, &$committed): void {
            $committed[] = $broker->stats()['commits'];
        });
        self::assertSame(3, $this->drain($broker));
        self::assertGreaterThan(0, $committed[0]);
    }

    public function testAnExceptionIsOnlyCountedAndLogged(): void
    {
        $this->produce(['A1', 'A2', 'B1']);
        $broker = $this->consumer(['A1' => self::ALWAYS]);
        $reported = [];
        $broker->onFailed(static function (Message $message, Throwable $why, ?int $wait) use (&$reported): void {
            $reported[] = [$message->getPayload(), $why->getMessage(), $wait];
        });
        $this->drain($broker);
        self::assertSame(['A1#1', 'A2#1', 'B1#1'], $this->tries);
        $stats = $broker->stats();
        self::assertSame([2, 1, 0, 0, 0], [
            $stats['handled'], $stats['failures'], $stats['retries'], $stats['dead_lettered'], $stats['parked'],
        ]);
        self::assertSame([['A1', 'no A1', null]], $reported);
        self::assertStringContainsString('no A1', $this->logged());
        self::assertStringContainsString($this->topic(), $this->logged());
        $broker->close();
        self::assertSame([], $this->left());
        self::assertSame([], $this->letters());
    }

    public function testAnInvalidRecordIsCountedAndNotDeadLettered(): void
    {
        $topic = $this->channelTopic('user.1');
        $this->send($topic, ['hello', Message::event('user.1', 'e', 1)->toJson()]);
        $data = [];
        $broker = $this->broker()->subscribe('user.1', static function (Message $message) use (&$data): void {
            $data[] = $message->getData();
        });
        $this->drain($broker);
        self::assertSame([[1], 1, 0], [$data, $broker->stats()['failures'], $broker->stats()['dead_lettered']]);
        $broker->close();
        self::assertSame([], $this->letters(0, $topic));
    }

    public function testAFailedBatchIsNotRetried(): void
    {
        $this->publish('user.1', [1, 2, 3, 4]);
        $lists = [];
        $broker = $this->broker()->subscribeBatch('user.1', static function (array $messages) use (&$lists): void {
            $lists[] = array_map(static fn (Message $message) => $message->getData(), $messages);
            throw new DomainException('no');
        });
        $broker->consume(batchSize: 2, stopWhenEmpty: true);
        self::assertSame([1, 2, 3, 4], array_merge(...$lists));
        $broker->close();
        self::assertSame([], $this->rest('user.1'));
    }

    public function testAKilledWorkerNeverRepeatsAnything(): void
    {
        $this->produce(array_map(static fn (int $i) => "A$i", range(1, 300)));
        $script = $this->script('usleep(1000);', '[]', 'batchSize: 10, stopWhenEmpty: true');
        for ($run = 0; $run < 3; $run++) {
            $before = count($this->noted());
            $child = $this->startPhp($script);
            self::eventually(fn () => count($this->noted()) > $before + 30, 'it is in mid-run');
            $child->signal(SIGKILL)->wait();
        }
        $this->runPhp($script, ['timeout' => 20.0])->assertExit();
        $tries = preg_grep('/#/', $this->noted()) ?: [];
        self::assertSame(array_values($tries), array_values(array_unique($tries)), 'nothing twice');
        self::assertGreaterThanOrEqual(300 - 3 * 10, count($tries), 'at most one fetch is lost per kill');
        self::assertContains('A300 done', $this->noted());
    }

    public function testExitInACallbackDoesNotRepeatTheRecord(): void
    {
        $this->produce(['A1', 'B1', 'C1']);
        $script = $this->script('if ($record === "A1") { exit(4); }', '[]', 'batchSize: 1, stopWhenEmpty: true');
        $this->runPhp($script, ['timeout' => 10.0])->assertExit(4);
        $this->runPhp($script, ['timeout' => 10.0])->assertExit();
        self::assertSame(['A1#1', 'B1#1', 'B1 done', 'C1#1', 'C1 done'], $this->noted());
    }

    public function testAStopFinishesTheFetchedRecords(): void
    {
        $this->produce(['A1', 'B1', 'C1', 'D1', 'E1', 'F1']);
        $broker = $this->broker();
        $broker->subscribeTopic($this->topic(), function (Message $message) use ($broker): void {
            $this->done[] = (string) $message->getPayload();
            $broker->stopConsuming();
        });
        $handled = self::within(10.0, $broker)->consume(batchSize: 4);
        self::assertSame(array_slice(['A1', 'B1', 'C1', 'D1', 'E1', 'F1'], 0, $handled), $this->done);
        self::assertLessThanOrEqual(4, $handled);
        $broker->close();
        self::assertSame(
            ['A1', 'B1', 'C1', 'D1', 'E1', 'F1'],
            array_merge($this->done, $this->left()),
            'what was committed was handled, the rest comes to the next'
        );
    }

    public function testASignalFinishesTheFetchedRecordsToo(): void
    {
        $records = array_map(static fn (int $i) => "A$i", range(1, 12));
        $this->produce($records);
        $child = $this->startPhp($this->script('usleep(100_000);', '[]', 'batchSize: 5'));
        self::eventually(fn () => in_array('A2#1', $this->noted(), true), 'it is in flight');
        $start = microtime(true);
        $result = $child->signal(SIGTERM)->wait()->assertExit();
        self::assertLessThan(5.0, microtime(true) - $start);
        self::assertStringContainsString('signal', $result->stdout);
        $done = array_map(static fn (string $line) => strtok($line, ' '), preg_grep('/done/', $this->noted()) ?: []);
        self::assertSame($records, array_merge(array_values($done), $this->left()), 'nothing twice, nothing lost');
    }

    public function testMaxMessagesIsExact(): void
    {
        $this->produce(['A1', 'B1', 'C1', 'D1', 'E1']);
        $broker = $this->consumer();
        self::assertSame(3, $broker->consume(batchSize: 100, maxMessages: 3));
        $broker->close();
        self::assertSame(['A1', 'B1', 'C1'], $this->done);
        self::assertSame(['D1', 'E1'], $this->left());
    }

    public function testIfTheCommitFailsTheFetchedRecordsAreDropped(): void
    {
        $kafka = EmbeddedBroker::start();
        $sender = $this->broker(['brokers' => $kafka->address()]);
        foreach (['A1', 'A2', 'A3', 'B1'] as $value) {
            $sender->send($this->topic(), $value, $value[0], [], 0);
        }
        $sender->close();
        $broker = $this->broker(['brokers' => $kafka->address()]);
        $broker->subscribeTopic($this->topic(), $this->handler([]));
        $broker->onAssigned(static function () use ($kafka): void {
            $kafka->failNext('OffsetCommit', 'TOPIC_AUTHORIZATION_FAILED');
        });
        self::within(10.0, $broker)->consume(batchSize: 3, stopWhenEmpty: true);
        $stats = $broker->stats();
        $broker->close();
        self::assertGreaterThan(0, $stats['dropped']);
        self::assertSame(4, $stats['dropped'] + $stats['handled']);
        self::assertSame('empty', $stats['stop_reason'], 'the ends that were fetched with them count');
        self::assertCount($stats['handled'], $this->done);
        self::assertNotContains('A1', $this->done, 'it might come again otherwise');
        self::assertStringContainsString('dropped', $this->logged(), 'and it is said');
        $kafka->stop();
    }

    public function testALateResponseBelongsToItsOwnCommit(): void
    {
        $kafka = EmbeddedBroker::start();
        $sender = $this->broker(['brokers' => $kafka->address()]);
        foreach (['A1', 'B1', 'C1'] as $value) {
            $sender->send($this->topic(), $value, $value, [], 0);
        }
        $sender->close();
        $broker = $this->broker(['brokers' => $kafka->address(), 'consumer_config' => ['session.timeout.ms' => 60_000]]);
        $commits = [];
        $note = static function (Message $message) use ($broker, $kafka, &$commits): void {
            $commits[$message->getPayload()] = $broker->stats()['commits'];
            $kafka->setLatency(count($commits) < 3 ? 5200 : 0);
        };
        $broker->subscribeTopic($this->topic(), $note);
        self::assertSame(3, self::within(40.0, $broker)->consume(batchSize: 1, maxMessages: 3));
        $stats = $broker->stats();
        $broker->close();
        $kafka->stop();
        self::assertSame(['A1' => 1, 'B1' => 2, 'C1' => 3], $commits, 'each is handled after its own commit');
        self::assertSame([0, 0], [$stats['dropped'], $stats['commit_failures']]);
    }

    public function testPollIsRefusedAsItWaitsForAck(): void
    {
        $this->expectException(ConfigurationException::class);
        $this->expectExceptionMessage('at-least-once');
        $this->broker()->subscribeTopic($this->topic())->poll(0);
    }
}
