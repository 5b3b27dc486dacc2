<?php

/**
 * Exactly-once on Kafka, with workers that are killed, and a zombie worker that resumes.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Delivery;

use DomainException;
use Fiber;
use Toporia\Realtime\Exception\RealtimeException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;

final class TransactionsKafkaTest extends DeliveryTestCase
{
    private const RECORDS = 2000;

    public function testKilledRepeatedlyReadersSeeEachResultOnce(): void
    {
        $this->fill(self::RECORDS);
        $kills = 0;
        for ($run = 0; $run < 6; $run++) {
            $child = $this->startPhp($this->worker());
            $child->waitForOutput('/^running$/m');
            usleep(random_int(0, 300_000));
            $kills += $child->signal(SIGKILL)->wait()->signal === SIGKILL ? 1 : 0;
        }
        self::assertGreaterThan(2, $kills, 'in mid-run');
        $this->runPhp($this->worker(), ['timeout' => 60.0])->assertExit();
        self::assertSame(array_map('strval', range(1, self::RECORDS)), $this->results(), 'each once, in order');
        self::assertSame([], $this->left());
    }

    public function testTwoWorkersThatAreKilledInTurn(): void
    {
        $this->fill(self::RECORDS, 4);
        $children = [$this->startPhp($this->worker()), $this->startPhp($this->worker())];
        for ($run = 0; $run < 4; $run++) {
            usleep(random_int(300_000, 900_000));
            $children[$run % 2]->signal(SIGKILL)->wait();
            $children[$run % 2] = $this->startPhp($this->worker());
        }
        foreach ($children as $child) {
            $child->wait(60.0)->assertExit();
        }
        $this->runPhp($this->worker(), ['timeout' => 60.0])->assertExit();
        $results = array_map('intval', $this->results());
        $twice = array_keys(array_filter(array_count_values($results), static fn (int $times) => $times > 1));
        self::assertSame([], $twice, 'nothing twice');
        self::assertSame([], array_diff(range(1, self::RECORDS), $results), 'nothing lost');
        foreach (range(0, 3) as $partition) {
            $own = array_values(array_filter($results, static fn (int $number) => $number % 4 === $partition));
            $sorted = $own;
            sort($sorted);
            self::assertSame($sorted, $own, "the order of partition $partition");
        }
    }

    public function testTheNextWorkerAbortsTheOpenTransactionOfAKilledOne(): void
    {
        $this->fill(40);
        // It holds the group's first transactional.id until it is requested to exit.
        $first = $this->startPhp(<<<'PHP'
            $broker = new Broker(['delivery' => 'exactly-once']);
            $broker->subscribeTopic(getenv('OTHER'), static fn (Message $message) => null);
            $broker->onAssigned(static function () { echo "assigned\n"; });
            $broker->consume();
            PHP, ['env' => ['OTHER' => $this->createTopic($this->topic('other'))]]);
        $first->waitForOutput('/^assigned$/m');
        $second = $this->startPhp($this->worker(200_000));
        $second->waitForOutput('/^running$/m');
        // In the middle of a transaction: its callbacks take longer than this.
        usleep(700_000);
        $second->signal(SIGKILL)->wait();
        $first->signal(SIGTERM)->wait()->assertExit();

        $this->runPhp($this->worker(0), ['timeout' => 60.0])->assertExit();
        // An open transaction would hold the last stable offset back for up to a minute.
        self::assertSame(array_map('strval', range(1, 40)), $this->results());
        self::assertSame([], $this->left());
    }

    public function testOneWorkerAbortsTheOpenTransactionsOfTwoKilledOnes(): void
    {
        $this->fill(0, 2);
        $assigned = '$broker->onAssigned(static function (array $own) { echo "has ", count($own), "\n"; });' . "\n";
        $code = strtr($this->worker(200_000), [', stopWhenEmpty: true' => '', '$broker->consume' => "$assigned\$broker->consume"]);
        $workers = [$this->startPhp($code)];
        $workers[0]->waitForOutput('/^has 2$/m');
        $workers[] = $this->startPhp($code);
        $workers[1]->waitForOutput('/^has 1$/m');
        $this->number(40, 2);
        foreach ($workers as $worker) {
            $worker->waitForOutput('/^running$/m');
        }
        // In the middle of their transactions.
        usleep(700_000);
        foreach ($workers as $worker) {
            $worker->signal(SIGKILL)->wait();
        }
        $next = $this->runPhp($this->worker(0), ['timeout' => 60.0])->assertExit();
        self::assertStringContainsString('A worker was killed', $next->stderr);
        $results = $this->results();
        sort($results, SORT_NUMERIC);
        self::assertSame(array_map('strval', range(1, 40)), $results);
        self::assertSame([], $this->left());
    }

    public function testAZombieIsFenced(): void
    {
        $this->fill(10);
        $id = "tx-$this->group";
        $config = ['delivery' => 'exactly-once', 'transactional_id' => $id];
        $zombie = $this->broker($config);
        $again = 0;
        $zombie->subscribeTopic($this->topic(), function (Message $message) use ($config, &$again): void {
            Realtime::broker()->send($this->topic('out'), "zombie {$message->getPayload()}", 'k', [], 0);
            if ($message->getPayload() === '3') {
                // A worker that starts while the transactional.id is in use.
                $again++;
                $config = var_export($config + ['consumer_group' => "$this->group-2"], true);
                $code = str_replace("['delivery' => 'exactly-once']", $config, $this->worker(0));
                $this->runPhp($code, ['timeout' => 30.0])->assertExit();
            }
        });
        try {
            self::within(20.0, $zombie)->consume(stopWhenEmpty: true);
            self::fail('The zombie went on.');
        } catch (RealtimeException $e) {
            self::assertStringContainsString($id, $e->getMessage());
            self::assertStringContainsString('fenced', $e->getMessage());
        }
        self::assertSame(1, $again);
        self::assertSame('error', $zombie->stats()['stop_reason']);
        $zombie->close();
        self::assertSame(array_map('strval', range(1, 10)), $this->results(), 'only what the successor sent');
        self::assertCount(10, $this->left(), 'the zombie committed nothing');
    }

    public function testAZombieProcessThatResumesIsFenced(): void
    {
        $this->fill(300);
        $zombie = $this->startPhp($this->worker(3000));
        $zombie->waitForOutput('/^running$/m');
        // In the middle of a transaction; then its session expires.
        usleep(150_000);
        $zombie->signal(SIGSTOP);
        usleep((int) ($this->sessionMs * 1000 * 1.5));
        // The lock on its transactional.id is still held, so the new worker has another one; the group generation
        // fences the old one.
        $this->runPhp($this->worker(0), ['timeout' => 90.0])->assertExit();
        $zombie->signal(SIGCONT);
        $zombie->signal(SIGTERM)->wait(30.0);
        self::assertSame(array_map('strval', range(1, 300)), $this->results(), 'each once');
        self::assertSame([], $this->left());
    }

    public function testAWorkerFrozenPastItsTransactionTimeoutRecovers(): void
    {
        $this->fill(200);
        $config = "['delivery' => 'exactly-once', 'producer_config' => ['transaction.timeout.ms' => 1500]]";
        $worker = str_replace("['delivery' => 'exactly-once']", $config, $this->worker(8000));
        $frozen = $this->startPhp($worker . 'echo json_encode($broker->stats());');
        $frozen->waitForOutput('/^running$/m');
        usleep(100_000);
        $frozen->signal(SIGSTOP);
        // Longer than its session and than Kafka's interval for aborting timed-out transactions (10 s).
        usleep(max(13_000, (int) ($this->sessionMs * 1.5)) * 1000);
        $frozen->signal(SIGCONT);
        $result = $frozen->wait(90.0)->assertExit();
        self::assertStringContainsString('continues as', $result->stderr . $result->stdout);
        self::assertSame(array_map('strval', range(1, 200)), $this->results(), 'each once');
        self::assertSame([], $this->left());
    }

    public function testAConsumerInsideACallbackHasItsOwnTransactions(): void
    {
        $this->fill(3);
        $this->createTopic($this->topic('inner'));
        $this->createTopic($this->topic('inner-out'));
        $this->send($this->topic('inner'), ['x', 'y']);
        $inner = $this->broker(['delivery' => 'exactly-once', 'consumer_group' => "$this->group-inner"]);
        $inner->subscribeTopic($this->topic('inner'), function (Message $message): void {
            Realtime::broker()->send($this->topic('inner-out'), $message->getPayload(), 'k', [], 0);
        });
        $outer = $this->broker(['delivery' => 'exactly-once', 'max_retries' => 1]);
        $outer->subscribeTopic($this->topic(), function (Message $message) use ($inner): void {
            if ($message->getPayload() === '2' && $message->getAttempt() === 1) {
                self::assertSame(2, $inner->consume(maxMessages: 2));
                Realtime::broker()->send($this->topic('out'), 'of a try that fails', 'k', [], 0);
                throw new DomainException('no');
            }
            Realtime::broker()->send($this->topic('out'), $message->getPayload(), 'k', [], 0);
        });
        self::assertSame(3, $this->drain($outer));
        $outer->close();
        $inner->close();
        self::assertSame(['1', '2', '3'], $this->results(), 'the callback around goes on in its own transaction');
        self::assertCount(2, $this->consumeAll($this->topic('inner-out'), 2), 'and the inner one committed its own');
    }

    public function testAConsumerWhoseFiberIsDroppedInTheCallbackOfAnotherOne(): void
    {
        $this->publish('user.1', ['A1']);
        $outer = $this->broker(['delivery' => 'exactly-once']);
        $outer->subscribe('user.1', static fn () => Fiber::suspend());
        $fiber = new Fiber(static fn () => $outer->consume(200));
        $fiber->start();
        $this->produce(['I1', 'I2']);
        $inner = $this->broker(['delivery' => 'exactly-once', 'consumer_group' => "$this->group.inner"]);
        [$failed, $out] = [false, $this->topic('out')];
        $inner->subscribeTopic($this->topic(), static function (Message $m) use (&$fiber, &$failed, $inner, $out): void {
            $fiber = null;
            $inner->send($out, "{$m->getPayload()} sent", 'k', [], 0);
            if (!$failed) {
                $failed = true;
                throw new DomainException('once');
            }
        });
        $this->drain($inner);
        $inner->close();
        $outer->close();
        $sent = array_map(static fn (Message $m) => $m->getPayload(), $this->consumeAll($out, 2));
        self::assertSame(['I1 sent', 'I2 sent'], $sent, 'sent in the transaction of its own consumer');
        self::assertSame(['A1'], $this->rest('user.1'));
    }

    public function testReadersNeverSeeAbortedResults(): void
    {
        $this->fill(5);
        $seen = [];
        $broker = $this->broker(['delivery' => 'exactly-once', 'max_retries' => 1]);
        $broker->subscribeTopic($this->topic(), function (Message $message) use (&$seen): void {
            Realtime::broker()->send($this->topic('out'), (string) $message->getPayload(), 'k', [], 0);
            Realtime::broadcast('user.1', 'e', $message->getPayload());
            if ($message->getPayload() === '3') {
                $seen[] = count($this->consumeAll($this->topic('out')));
                throw new DomainException('no');
            }
        });
        self::assertSame(5, $this->drain($broker));
        $broker->close();
        self::assertSame([0, 0], $seen, 'nothing before it is committed');
        self::assertSame(['1', '2', '4', '5'], $this->results());
        self::assertSame(['1', '2', '4', '5'], $this->rest('user.1'));
        self::assertSame(['3'], $this->letterValues(1));
    }

    private function fill(int $records, int $partitions = 1): void
    {
        $this->createTopic($this->topic(), $partitions);
        $this->createTopic($this->topic('out'), $partitions);
        $this->number($records, $partitions);
    }

    private function number(int $records, int $partitions): void
    {
        $broker = Realtime::broker();
        for ($number = 1; $number <= $records; $number++) {
            $broker->send($this->topic(), (string) $number, null, [], $number % $partitions);
        }
        Realtime::flush();
    }

    /** Forwards every record to the same partition of the other topic. */
    private function worker(int $sleepUs = 300): string
    {
        [$in, $out] = [var_export($this->topic(), true), var_export($this->topic('out'), true)];

        return <<<PHP
            \$broker = new Broker(['delivery' => 'exactly-once']);
            \$broker->subscribeTopic($in, function (Message \$message) {
                static \$first = true;
                if (\$first) {
                    echo "running\\n";
                    \$first = false;
                }
                Realtime::broker()->send($out, \$message->getPayload(), null, [], \$message->getPartition());
                usleep($sleepUs);
            });
            \$broker->consume(batchSize: 50, stopWhenEmpty: true);
            // If everything was handled before, there is no first record.
            echo "running\\n";
            PHP;
    }

    /** @return list<string> */
    private function results(): array
    {
        $messages = $this->consumeAll($this->topic('out'), 1);

        return array_map(static fn (Message $message) => (string) $message->getPayload(), $messages);
    }
}
