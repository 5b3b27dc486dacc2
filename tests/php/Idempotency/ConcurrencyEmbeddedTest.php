<?php

/**
 * Several workers with the same messages at the same time, on real servers: each effect happens once.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Idempotency;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\Attributes\DataProviderExternal;
use Toporia\Realtime\Idempotency\InProgressException;
use Toporia\Realtime\Tests\Support\ChildProcess;
use Toporia\Realtime\Tests\Support\Databases;

final class ConcurrencyEmbeddedTest extends StoreTestCase
{
    private const WORKERS = 4;
    private const KEYS = 60;

    /** @dataProvider Toporia\Realtime\Tests\Idempotency\Stores::provideShared */
    #[DataProviderExternal(Stores::class, 'provideShared')]
    public function testWorkersCompeteForTheSameKeys(string $name): void
    {
        $stores = $this->open($name);
        $code = '
            // All begin at the same moment.
            while (microtime(true) < ' . (microtime(true) + 0.4) . ') { usleep(500); }
            $ran = $again = 0;
            $order = range(0, ' . (self::KEYS - 1) . ');
            shuffle($order);
            foreach ($order as $i) {
                for ($try = 0; ; $try++) {
                    try {
                        $ran += $stores->run("s:$i", "effect $i", "topic-" . getmypid() . "-$i");
                        break;
                    } catch (Throwable $e) {
                        // A deadlock or a lock that was waited for too long: the worker would try again, and so do we.
                        if ($try === 20) { throw $e; }
                        $again++;
                        usleep(1000);
                    }
                }
            }
            echo json_encode([$ran, $again]);
        ';
        $workers = [];
        for ($i = 0; $i < self::WORKERS; $i++) {
            $workers[] = $this->inAnotherProcess($stores, $code);
        }
        $ran = array_map(static fn (ChildProcess $worker) => $worker->wait(60.0)->json()[0], $workers);
        self::assertSame(self::KEYS, array_sum($ran));
        $expected = array_map(static fn (int $i) => "effect $i", range(0, self::KEYS - 1));
        sort($expected, SORT_STRING);
        self::assertSame($expected, $stores->effects());
    }

    /** @dataProvider Toporia\Realtime\Tests\Idempotency\Stores::provideShared */
    #[DataProviderExternal(Stores::class, 'provideShared')]
    public function testTheSecondWaitsForTheFirstAndSkips(string $name): void
    {
        $stores = $this->open($name);
        $first = $this->inAnotherProcess($stores, '
            $stores->run("s:1", "first", "topic-0-1", function () { echo "handling\n"; usleep(400_000); });
        ');
        $first->waitForOutput('/handling/');
        $started = microtime(true);
        self::assertSame(0, $stores->run('s:1', 'second', 'topic-1-1'));
        self::assertGreaterThan(0.2, microtime(true) - $started, 'it waited');
        $first->wait()->assertExit();
        self::assertSame(['first'], $stores->effects());
    }

    /** @dataProvider Toporia\Realtime\Tests\Idempotency\Stores::provideShared */
    #[DataProviderExternal(Stores::class, 'provideShared')]
    public function testTheSecondContinuesIfTheFirstFails(string $name): void
    {
        $stores = $this->open($name);
        $first = $this->inAnotherProcess($stores, '
            try {
                $stores->run("s:1", "first", "topic-0-1", function () {
                    echo "handling\n";
                    usleep(300_000);
                    throw new RuntimeException("no");
                });
            } catch (RuntimeException) {
            }
        ');
        $first->waitForOutput('/handling/');
        self::assertSame(1, $stores->run('s:1', 'second', 'topic-1-1'));
        $first->wait()->assertExit();
        self::assertSame($stores->pdo === null ? ['first', 'second'] : ['second'], $stores->effects());
    }

    /** @dataProvider clients */
    #[DataProvider('clients')]
    public function testWithRedisTheWaitIsBounded(string $name): void
    {
        $stores = $this->open($name, ['waitMs' => 200]);
        $first = $this->inAnotherProcess($stores, '
            $stores->run("s:1", "first", "topic-0-1", function () { echo "handling\n"; sleep(20); });
        ');
        $first->waitForOutput('/handling/');
        $started = microtime(true);
        try {
            $stores->run('s:1', 'second', 'topic-1-1');
            self::fail('it has to throw');
        } catch (InProgressException $e) {
            self::assertSame('s:1', $e->getKey());
        }
        $waited = microtime(true) - $started;
        self::assertTrue($waited > 0.19 && $waited < 2.0, "it waited $waited s");
    }

    /** @dataProvider clients */
    #[DataProvider('clients')]
    public function testABatchDoesNotWaitWhileItHoldsKeys(string $name): void
    {
        $stores = $this->open($name, ['waitMs' => 5000]);
        $first = $this->inAnotherProcess($stores, '
            $stores->run("s:2", "first", "topic-0-1", function () { echo "handling\n"; sleep(20); });
        ');
        $first->waitForOutput('/handling/');
        $given = [];
        $started = microtime(true);
        try {
            $stores->store->run(['s:1' => null, 's:2' => null, 's:3' => null], static function (array $fresh) use (&$given): void {
                $given = $fresh;
            });
            self::fail('it has to throw');
        } catch (InProgressException $e) {
            self::assertSame('s:2', $e->getKey());
        }
        self::assertLessThan(1.0, microtime(true) - $started);
        self::assertSame(['s:1'], $given);
        self::assertSame(0, $stores->run('s:1', 'again'), 'what stood before it is done');
        self::assertSame(1, $stores->run('s:3', 'free'), 'what stood behind it is not claimed');
    }

    /** @return array<string, array{string}> */
    public static function clients(): array
    {
        return ['phpredis' => ['phpredis'], 'Predis' => ['predis']];
    }

    /** @dataProvider Toporia\Realtime\Tests\Support\Databases::provide */
    #[DataProviderExternal(Databases::class, 'provide')]
    public function testBatchesInOppositeOrderDoNotDeadlock(string $driver): void
    {
        $stores = $this->open($driver);
        $code = '
            while (microtime(true) < ' . (microtime(true) + 0.4) . ') { usleep(500); }
            $ran = 0;
            for ($round = 0; $round < 15; $round++) {
                $keys = array_map(fn (int $i) => "s:$round-" . chr(97 + $i), range(0, 19));
                $keys = %s;
                $ran += $stores->store->run(array_fill_keys($keys, null), function (array $fresh) use ($stores) {
                    foreach ($fresh as $key) { $stores->effect($key); }
                });
            }
            echo json_encode($ran);
        ';
        $one = $this->inAnotherProcess($stores, str_replace('%s', '$keys', $code));
        $two = $this->inAnotherProcess($stores, str_replace('%s', 'array_reverse($keys)', $code));
        self::assertSame(300, $one->wait(60.0)->json() + $two->wait(60.0)->json());
        $effects = $stores->effects();
        self::assertCount(300, $effects);
        self::assertCount(300, array_unique($effects));
    }
}
