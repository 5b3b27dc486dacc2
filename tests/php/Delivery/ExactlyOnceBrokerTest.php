<?php

/**
 * delivery: exactly-once: messages sent by callbacks and the consumed offsets form one transaction. Readers of the
 * embedded broker see aborted results too, so order and offsets are checked there; on Kafka each result appears once.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Delivery;

use DomainException;
use PHPUnit\Framework\Attributes\DataProvider;
use Throwable;
use Toporia\Realtime\Broker;
use Toporia\Realtime\Exception\BatchException;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\PermanentException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;

final class ExactlyOnceBrokerTest extends DeliveryTestCase
{
    private const RECORDS = ['A1', 'B1', 'C1', 'D1', 'E1'];

    public function testEveryResultOnceAndTheOffsetsWithIt(): void
    {
        $records = array_map(static fn (int $i) => 'A' . $i, range(1, 100));
        $this->produce($records);
        $broker = $this->forwarder([], ['transaction_ms' => 0]);
        self::assertSame(100, $broker->consume(batchSize: 20, stopWhenEmpty: true));
        $stats = $broker->stats();
        self::assertSame(['exactly-once', 0, 100], [
            $stats['delivery'], $stats['transactions_aborted'], $stats['handled'],
        ]);
        self::assertGreaterThanOrEqual(5, $stats['transactions'], 'one per fetch');
        self::assertLessThanOrEqual(20, $stats['transactions'], 'and not a record each');
        $broker->close();
        self::assertSame($records, $this->results(100));
        $this->assertLeft([]);
    }

    public function testATransactionGoesOnToTheNextFetchWhileRecordsAreThere(): void
    {
        $records = array_map(static fn (int $i) => 'A' . $i, range(1, 200));
        $this->produce($records);
        $broker = $this->forwarder([], ['transaction_ms' => 5000]);
        self::assertSame(200, $broker->consume(batchSize: 5, stopWhenEmpty: true));
        $stats = $broker->stats();
        self::assertSame([0, 200], [$stats['transactions_aborted'], $stats['handled']]);
        self::assertLessThan(20, $stats['transactions'], '40 fetches, and a transaction per fetch of Kafka at most');
        $broker->close();
        self::assertSame($records, $this->results(200));
        $this->assertLeft([]);
    }

    public function testAnExceptionAbortsAndTheBatchIsRetried(): void
    {
        $this->produce(self::RECORDS);
        $broker = $this->forwarder(['C1' => 1]);
        self::assertSame(5, $this->drain($broker));
        // The first record may come in a batch of its own.
        $tries = array_map(static fn (string $try) => strtok($try, '#'), $this->tries);
        self::assertSame(['B1', 'C1', 'B1', 'C1', 'D1', 'E1'], array_values(array_diff($tries, ['A1'])));
        self::assertSame(['C1#1', 'C1#2'], $this->triesOf('C1'));
        $stats = $broker->stats();
        self::assertSame([1, 1, 0], [$stats['transactions_aborted'], $stats['failures'], $stats['dead_lettered']]);
        $broker->close();
        $this->assertResults(self::RECORDS);
        $this->assertLeft([]);
    }

    public function testAfterTheLastAttemptTheDeadLetterIsInTheNextTransaction(): void
    {
        $this->produce(self::RECORDS);
        $broker = $this->forwarder(['C1' => self::ALWAYS]);
        self::assertSame(5, $this->drain($broker));
        self::assertSame(['C1#1', 'C1#2', 'C1#3', 'C1#4'], $this->triesOf('C1'));
        self::assertSame(1, $broker->stats()['dead_lettered']);
        $broker->close();
        $this->assertResults(['A1', 'B1', 'D1', 'E1']);
        $letters = $this->letters(1);
        self::assertCount(1, $letters);
        self::assertSame(['C1', '4', DomainException::class], [
            $letters[0]->getPayload(), $letters[0]->getHeaders()['x-attempts'],
            $letters[0]->getHeaders()['x-exception-class'],
        ]);
        $this->assertLeft([]);
    }

    public function testAPermanentFailureIsNotRetried(): void
    {
        $this->produce(self::RECORDS);
        $broker = $this->forwarder(
            static fn (Message $m): ?Throwable => $m->getPayload() === 'C1' ? new PermanentException('no') : null
        );
        self::assertSame(5, $this->drain($broker));
        self::assertSame(['C1#1'], $this->triesOf('C1'));
        $broker->close();
        self::assertSame(['C1'], $this->letterValues(1));
        $this->assertResults(['A1', 'B1', 'D1', 'E1']);
    }

    public function testWithDeadLettersOffItThrowsAndTheOffsetStaysBeforeIt(): void
    {
        $this->produce(self::RECORDS);
        $broker = $this->forwarder(['C1' => self::ALWAYS], ['dlq' => false, 'max_retries' => 1]);
        self::assertSame('no C1', $this->drainThrows($broker)->getMessage());
        $broker->close();
        $left = $this->left();
        self::assertSame(['C1', 'D1', 'E1'], array_slice($left, -3));
    }

    public function testEverySendMethodIsPartOfIt(): void
    {
        $this->produce(['A1']);
        $other = $this->broker();
        $calls = 0;
        $broker = $this->exactlyOnce()->subscribeTopic($this->topic(), function () use ($other, &$calls): void {
            Realtime::broadcast('user.1', 'e', 'broadcast');
            Realtime::broker()->publish('user.1', Message::event('user.1', 'e', 'publish'));
            $other->send($this->channelTopic('user.1'), Message::event('user.1', 'e', 'send')->toJson(), 'user.1');
            $other->publishBatch([['user.1', 'e', 'batch']], 1);
            Realtime::flush(1);
            if (++$calls === 1) {
                throw new DomainException('no');
            }
        });
        self::assertSame(1, $this->drain($broker));
        self::assertSame(2, $calls, 'a flush neither waits for the transaction nor fails');
        $broker->close();
        $data = $this->rest('user.1');
        self::assertSame(['broadcast', 'publish', 'send', 'batch'], self::isReal() ? $data : array_slice($data, -4));
    }

    public function testAnotherKafkaInACallbackIsRefused(): void
    {
        $this->produce(['A1']);
        $elsewhere = new Broker($this->config(['brokers' => '127.0.0.1:1', 'shutdown_flush_ms' => 100]));
        $errors = [];
        $broker = $this->exactlyOnce()->subscribeTopic($this->topic(), function () use ($elsewhere, &$errors): void {
            foreach (['send' => ['x', 'y'], 'publish' => ['x', Message::event('x', 'e')]] as $method => $arguments) {
                try {
                    $elsewhere->$method(...$arguments);
                } catch (ConfigurationException $e) {
                    $errors[] = $e->getMessage();
                }
            }
        });
        self::assertSame(1, $this->drain($broker));
        self::assertCount(2, $errors);
        self::assertStringContainsString('exactly-once', $errors[0]);
        self::assertStringContainsString('127.0.0.1:1', $errors[0]);
    }

    public function testOutsideOfCallbacksSendingIsNotTransactional(): void
    {
        $broker = $this->exactlyOnce();
        $broker->publish('user.1', Message::event('user.1', 'e', 1));
        Realtime::flush();
        self::assertSame([1], $this->rest('user.1'));
    }

    /**
     * @dataProvider contradictions
     *
     * @param array<string, mixed> $config
     */
    #[DataProvider('contradictions')]
    public function testSettingsThatContradictItAreRefused(array $config): void
    {
        $this->expectException(ConfigurationException::class);
        $this->expectExceptionMessage('exactly-once');
        $this->exactlyOnce($config)->subscribe('user.1', static fn () => null)->consume();
    }

    /** @return array<string, array{array<string, mixed>}> */
    public static function contradictions(): array
    {
        return ['acks 1' => [['acks' => 1]], 'acks 0' => [['acks' => 0]], 'idempotence' => [['idempotence' => false]]];
    }

    public function testBatchesAreTransactionsToo(): void
    {
        $records = array_map(static fn (int $i) => Message::event('user.1', 'e', $i)->toJson(), range(1, 30));
        $this->send($this->channelTopic('user.1'), $records);
        $failed = false;
        $broker = $this->exactlyOnce()->subscribeBatch('user.1', function (array $messages) use (&$failed): void {
            foreach ($messages as $message) {
                Realtime::broker()->send($this->topic('out'), (string) $message->getData(), 'k', [], 0);
            }
            if (!$failed && count($messages) > 1) {
                $failed = true;
                throw new DomainException('no');
            }
        });
        self::assertSame(30, $broker->consume(batchSize: 10, stopWhenEmpty: true));
        self::assertTrue($failed);
        $broker->close();
        $this->assertResults(array_map('strval', range(1, 30)));
    }

    public function testAGivenUpRecordOfABatchIsDeadLetteredAndTheOthersContinue(): void
    {
        $records = array_map(static fn (int $i) => Message::event('user.1', 'e', $i)->toJson(), range(1, 9));
        $this->send($this->channelTopic('user.1'), $records);
        $tries = 0;
        $broker = $this->exactlyOnce(['max_retries' => 2]);
        $broker->subscribeBatch('user.1', function (array $messages) use ($broker, &$tries): void {
            foreach ($messages as $index => $message) {
                if ($message->getData() === 5) {
                    ++$tries < 20 ?: $broker->stopConsuming();
                    throw new BatchException($index, new DomainException('no'));
                }
                Realtime::broker()->send($this->topic('out'), (string) $message->getData(), 'k', [], 0);
            }
        });
        self::assertSame(9, self::within(20.0, $broker)->consume(stopWhenEmpty: true));
        self::assertSame(3, $tries);
        $broker->close();
        $this->assertResults(['1', '2', '3', '4', '6', '7', '8', '9']);
        self::assertCount(1, $this->consumeAll('dlq.' . $this->channelTopic('user.1'), 1));
    }

    public function testAStopCommitsOnlyHandledRecords(): void
    {
        $this->produce(self::RECORDS);
        $broker = $this->exactlyOnce();
        $broker->subscribeTopic($this->topic(), function (Message $message) use ($broker): void {
            Realtime::broker()->send($this->topic('out'), $message->getPayload(), 'k', [], 0);
            if ($message->getPayload() === 'B1') {
                $broker->stopConsuming();
            }
        });
        self::assertSame(2, self::within(10.0, $broker)->consume());
        $broker->close();
        self::assertSame(['A1', 'B1'], $this->results(2));
        $this->assertLeft(['C1', 'D1', 'E1']);
    }

    public function testMaxMessagesIsExact(): void
    {
        $this->produce(self::RECORDS);
        $broker = $this->forwarder();
        self::assertSame(3, $broker->consume(maxMessages: 3));
        $broker->close();
        self::assertSame(['A1', 'B1', 'C1'], $this->results(3));
        $this->assertLeft(['D1', 'E1']);
    }

    public function testALongBatchIsCommittedBeforeItsTransactionTimesOut(): void
    {
        $this->produce(array_map(static fn (int $i) => "A$i", range(1, 9)));
        $broker = $this->exactlyOnce(['producer_config' => ['transaction.timeout.ms' => 1500]]);
        $broker->subscribeTopic($this->topic(), function (Message $message): void {
            Realtime::broker()->send($this->topic('out'), $message->getPayload(), 'k', [], 0);
            usleep(260_000);
        });
        self::assertSame(9, $this->drain($broker));
        self::assertGreaterThanOrEqual(3, $broker->stats()['transactions'], 'a third of the timeout each');
        self::assertSame(0, $broker->stats()['transactions_aborted']);
        $broker->close();
        self::assertCount(9, $this->results(9));
    }

    public function testAnInheritedBrokerThrowsInAForkedChild(): void
    {
        $this->produce(['A1']);
        $result = $this->runPhp($this->script('', '["delivery" => "exactly-once"]', 'maxMessages: 1') . <<<'PHP'
            if (($pid = pcntl_fork()) === 0) {
                foreach ([fn () => $broker->consume(maxMessages: 1), fn () => $broker->send('x', 'y')] as $call) {
                    try {
                        $call();
                        echo "nothing thrown\n";
                    } catch (Toporia\Realtime\Exception\RealtimeException $e) {
                        echo get_class($e), ' ', str_contains($e->getMessage(), 'fork') ? 'fork' : $e->getMessage(), "\n";
                    }
                }
                exit(5);
            }
            pcntl_waitpid($pid, $status);
            echo 'status ', pcntl_wexitstatus($status), "\n";
            $broker->send('x', 'the parent may');
            PHP, ['timeout' => 15.0])->assertExit();
        $class = ConfigurationException::class;
        self::assertSame(
            ['returned 1 max_messages', "$class fork", "$class fork", 'status 5'],
            $result->lines(),
            $result->describe()
        );
    }

    public function testACrashAbortsAndIsCounted(): void
    {
        $this->produce(['A1', 'B1', 'C1']);
        $out = var_export($this->topic('out'), true);
        $script = $this->script(
            "\$broker->send($out, \$record, 'k', [], 0); if (\$record === 'B1') { exit; }",
            '["delivery" => "exactly-once", "max_retries" => 1]',
            'stopWhenEmpty: true'
        );
        for ($run = 0; $run < 5; $run++) {
            $result = $this->runPhp($script, ['timeout' => 15.0])->assertExit();
            if ($result->stdout !== '') {
                break;
            }
        }
        self::assertSame(['B1#1', 'B1#2'], array_values(preg_grep('/^B1#/', $this->noted()) ?: []));
        $this->assertResults(['A1', 'C1']);
        self::assertSame('FatalError', $this->letters(1)[0]->getHeaders()['x-exception-class']);
        $this->assertLeft([]);
    }

    /**
     * A broker that forwards every record to topic('out').
     *
     * @param array<string, int>|callable(Message): ?Throwable $failing see handler(); it sends first, then fails
     * @param array<string, mixed> $config
     */
    private function forwarder(array|callable $failing = [], array $config = []): Broker
    {
        $handler = $this->handler($failing);

        return $this->exactlyOnce($config)->subscribeTopic($this->topic(), function (Message $m) use ($handler): void {
            Realtime::broker()->send($this->topic('out'), $m->getPayload(), 'k', [], 0);
            $handler($m);
        });
    }

    /** @param array<string, mixed> $config */
    private function exactlyOnce(array $config = []): Broker
    {
        return $this->broker($config + ['delivery' => 'exactly-once']);
    }

    /** @return list<string> */
    private function results(int $atLeast): array
    {
        $messages = $this->consumeAll($this->topic('out'), $atLeast);

        return array_map(static fn (Message $message) => (string) $message->getPayload(), $messages);
    }

    /** @param list<string> $expected what the group has not committed; the embedded broker keeps no offsets of transactions */
    private function assertLeft(array $expected): void
    {
        if (self::isReal()) {
            self::assertSame($expected, $this->left());
        }
    }

    /** @param list<string> $expected in order, once each; on the embedded broker after what was aborted */
    private function assertResults(array $expected): void
    {
        $results = $this->results(count($expected));
        if (!self::isReal()) {
            // The last attempt of each is the one that was committed.
            $results = array_reverse(array_values(array_unique(array_reverse($results))));
            $results = array_values(array_intersect($results, $expected));
        }
        self::assertSame($expected, $results);
    }
}
