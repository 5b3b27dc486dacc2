<?php

/**
 * The wrapper in a consumer on a real topic: duplicates, retries, a killed worker, two groups with one scope.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Idempotency;

use PHPUnit\Framework\Attributes\DataProviderExternal;
use RuntimeException;
use Toporia\Realtime\Exception\BatchException;
use Toporia\Realtime\Idempotency\Idempotency;
use Toporia\Realtime\Idempotency\MemoryStore;
use Toporia\Realtime\Laravel\Queue\StoredMessage;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Tests\Consuming\ConsumingTestCase;
use Toporia\Realtime\Tests\Support\ChildProcess;
use Toporia\Realtime\Tests\Support\Databases;

final class WorkerBrokerTest extends ConsumingTestCase
{
    private ?Stores $stores = null;

    protected function tearDown(): void
    {
        $this->endChildren();
        $this->stores?->drop();
        parent::tearDown();
    }

    /** @dataProvider Toporia\Realtime\Tests\Idempotency\Stores::provide */
    #[DataProviderExternal(Stores::class, 'provide')]
    public function testAMessageThatWasSentTwiceIsHandledOnce(string $name): void
    {
        $stores = $this->stores = Stores::fresh($name);
        $this->sendTwice(range(0, 49));
        $idempotency = new Idempotency($stores->store, 'orders');
        $broker = $this->broker();
        $broker->subscribe('order.1', $idempotency->wrap(static function (Message $message) use ($stores): void {
            $stores->effect("effect {$message->getData()}");
        }));
        self::assertSame(100, $this->drain($broker));
        self::assertSame($this->effects(50), $stores->effects());
        self::assertSame(50, $idempotency->skipped());
    }

    public function testEnvelopesWithoutAnIdAreHandledOnce(): void
    {
        $topic = $this->createTopic($this->channelTopic('order.1'));
        $envelope = '"type":"event","channel":"order.1","event":"e","timestamp":5}';
        foreach (['{', '{"id":null,', '{"id":"",'] as $begin) {
            $this->broker()->send($topic, $begin . $envelope, null, [], 0);
        }
        Realtime::flush();
        $idempotency = new Idempotency(new MemoryStore(), 'orders');
        $handled = [];
        $one = $idempotency->wrap(static function (Message $message) use ($topic, &$handled): void {
            self::assertSame("$topic-0-{$message->getOffset()}", $message->getId());
            self::assertSame($message->getId(), StoredMessage::of($message)->message()->getId());
            $handled[] = $message->getOffset();
        });
        foreach (['one', 'two'] as $group) {
            $broker = $this->broker(['consumer_group' => "$this->group-$group", 'max_retries' => 0]);
            $broker->subscribe('order.1', $one);
            self::assertSame(3, $this->drain($broker));
            self::assertSame(0, $broker->stats()['dead_lettered'], $this->logged());
            $broker->close();
        }
        $batch = $this->broker(['consumer_group' => "$this->group-batch"]);
        $batch->subscribeBatch('order.1', $idempotency->wrap(static function (array $messages) use (&$handled): void {
            $handled[] = count($messages);
        }));
        self::assertSame(3, $this->drain($batch));
        self::assertSame([[0, 1, 2], 6], [$handled, $idempotency->skipped()]);
    }

    /** @dataProvider Toporia\Realtime\Tests\Support\Databases::provide */
    #[DataProviderExternal(Databases::class, 'provide')]
    public function testBatchesWithDuplicatesAndAFailure(string $name): void
    {
        $stores = $this->stores = Stores::fresh($name);
        $this->sendTwice(range(0, 49));
        $failures = 0;
        $callback = static function (array $messages) use ($stores, &$failures): void {
            foreach ($messages as $i => $message) {
                if ($message->getData() === 7 && $failures++ < 2) {
                    throw new BatchException($i, new RuntimeException('not yet'));
                }
                $stores->effect("effect {$message->getData()}");
            }
        };
        $broker = $this->broker();
        $broker->subscribeBatch('order.1', (new Idempotency($stores->store, 'orders'))->wrap($callback));
        self::assertSame(100, $broker->consume(batchSize: 20, stopWhenEmpty: true));
        self::assertSame($this->effects(50), $stores->effects());
        self::assertGreaterThanOrEqual(2, $failures);
    }

    /** @dataProvider Toporia\Realtime\Tests\Idempotency\Stores::provide */
    #[DataProviderExternal(Stores::class, 'provide')]
    public function testACallbackThatThrowsIsRetriedAndThenMarked(string $name): void
    {
        $stores = $this->stores = Stores::fresh($name);
        $this->sendTwice([0]);
        $tries = 0;
        $callback = static function (Message $message) use ($stores, &$tries): void {
            if (++$tries < 3) {
                throw new RuntimeException('not yet');
            }
            $stores->effect("effect {$message->getData()}");
        };
        $broker = $this->broker(['retry_backoff_ms' => 10]);
        $broker->subscribe('order.1', (new Idempotency($stores->store, 'orders'))->wrap($callback));
        self::assertSame(2, $this->drain($broker));
        self::assertSame([3, ['effect 0']], [$tries, $stores->effects()]);
    }

    public function testAWorkerThatIsKilledRepeatedlyHandlesEachMessageOnce(): void
    {
        $stores = $this->stores = Stores::fresh('pgsql');
        $this->publish('order.1', range(0, 599));
        $kills = 0;
        for ($i = 0; $i < 3; $i++) {
            $child = $this->worker($stores, $this->group);
            $child->waitForOutput('/^running$/m', 30.0);
            usleep(random_int(0, 150_000));
            $kills += $child->signal(9)->wait()->signal === 9 ? 1 : 0;
        }
        $this->worker($stores, $this->group)->wait(40.0)->assertExit();
        self::assertGreaterThan(0, $kills);
        self::assertSame($this->effects(600), $stores->effects(), 'none missing, none twice');
    }

    /** @dataProvider Toporia\Realtime\Tests\Support\Databases::provideServers */
    #[DataProviderExternal(Databases::class, 'provideServers')]
    public function testTwoWorkersWithTheSameMessagesAtTheSameTime(string $name): void
    {
        $stores = $this->stores = Stores::fresh($name);
        $this->publish('order.1', range(0, 199));
        // Each group gets every message, and both have the same scope.
        $workers = [$this->worker($stores, "$this->group-a"), $this->worker($stores, "$this->group-b")];
        foreach ($workers as $worker) {
            $worker->wait(40.0)->assertExit();
        }
        self::assertSame($this->effects(200), $stores->effects());
    }

    private function worker(Stores $stores, string $group): ChildProcess
    {
        $class = '\\' . Stores::class;
        $wrapper = '\\' . Idempotency::class;
        $arguments = var_export([$stores->name, $stores->table], true);

        return $this->startPhp(<<<PHP
            \$stores = new $class(...$arguments);
            \$broker = new Broker(['consumer_group' => '$group', 'consumer_config' => ['auto.commit.interval.ms' => 50]]);
            \$broker->subscribe('order.1', function (Message \$message) use (\$stores): void {
                static \$first = true;
                if (\$first) {
                    echo "running\\n";
                    \$first = false;
                }
                (new $wrapper(\$stores->store, 'orders'))->once(\$message, function () use (\$message, \$stores): void {
                    \$stores->effect("effect {\$message->getData()}");
                    usleep(500);
                });
            });
            \$broker->consume(stopWhenEmpty: true);
            // If everything was handled before, there is no first record.
            echo "running\\n";
            PHP);
    }

    /** @param list<int> $data */
    private function sendTwice(array $data): void
    {
        $broker = $this->broker();
        foreach ($data as $one) {
            $message = Message::event('order.1', 'order.paid', $one);
            $broker->publish('order.1', $message);
            $broker->publish('order.1', $message);
        }
        Realtime::flush();
    }

    /** @return list<string> */
    private function effects(int $count): array
    {
        $effects = array_map(static fn (int $i) => "effect $i", range(0, $count - 1));
        sort($effects, SORT_STRING);

        return $effects;
    }
}
