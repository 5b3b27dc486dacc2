<?php

/**
 * A worker that is killed between the effect and its mark, with each store.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Idempotency;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\Attributes\DataProviderExternal;
use Toporia\Realtime\Idempotency\InProgressException;
use Toporia\Realtime\Tests\Support\Databases;

final class CrashEmbeddedTest extends StoreTestCase
{
    private const KILLED_AFTER_THE_EFFECT = '
        $stores->run("s:1", "the killed one", "topic-0-7", function () {
            posix_kill(getmypid(), SIGKILL);
        });
    ';

    /** @dataProvider Toporia\Realtime\Tests\Support\Databases::provide */
    #[DataProviderExternal(Databases::class, 'provide')]
    public function testInADatabaseEffectAndMarkAreAtomic(string $name): void
    {
        $stores = $this->open($name);
        self::assertSame(9, $this->inAnotherProcess($stores, self::KILLED_AFTER_THE_EFFECT)->wait()->signal);
        self::assertSame([], $stores->effects(), 'the effect went with the transaction');
        self::assertSame(1, $stores->run('s:1', 'the next one', 'topic-0-7'));
        self::assertSame(['the next one'], $stores->effects(), 'once');
    }

    /** @dataProvider Toporia\Realtime\Tests\Support\Databases::provide */
    #[DataProviderExternal(Databases::class, 'provide')]
    public function testKilledAfterTheCommitItIsMarked(string $name): void
    {
        $stores = $this->open($name);
        $child = $this->inAnotherProcess($stores, '
            $stores->run("s:1", "the killed one", "topic-0-7");
            posix_kill(getmypid(), SIGKILL);
        ');
        self::assertSame(9, $child->wait()->signal);
        self::assertSame(0, $stores->run('s:1', 'the next one', 'topic-0-7'));
        self::assertSame(['the killed one'], $stores->effects());
    }

    /** @dataProvider clients */
    #[DataProvider('clients')]
    public function testWithRedisTheEffectIsRepeated(string $name): void
    {
        $stores = $this->open($name);
        self::assertSame(9, $this->inAnotherProcess($stores, self::KILLED_AFTER_THE_EFFECT)->wait()->signal);
        $started = microtime(true);
        self::assertSame(1, $stores->run('s:1', 'the next one', 'topic-0-7'), 'the same record takes the claim over');
        self::assertLessThan(1.0, microtime(true) - $started, 'at once, not after the lease');
        self::assertSame(['the killed one', 'the next one'], $stores->effects(), 'nothing lost, once too often');
        self::assertSame(0, $stores->run('s:1', 'a third one', 'topic-0-7'));
    }

    /** @dataProvider clients */
    #[DataProvider('clients')]
    public function testWithRedisAnotherRecordWaitsForTheLease(string $name): void
    {
        $stores = $this->open($name, ['lease' => 1, 'waitMs' => 0]);
        $child = $this->inAnotherProcess($stores, self::KILLED_AFTER_THE_EFFECT, ['lease' => 1]);
        self::assertSame(9, $child->wait()->signal);
        try {
            $stores->run('s:1', 'too early', 'topic-0-8');
            self::fail('the claim of the killed one holds');
        } catch (InProgressException $e) {
            self::assertSame('s:1', $e->getKey());
        }
        usleep(1_100_000);
        self::assertSame(1, $stores->run('s:1', 'after the lease', 'topic-0-8'));
        self::assertSame(['after the lease', 'the killed one'], $stores->effects());
    }

    /** @return array<string, array{string}> */
    public static function clients(): array
    {
        return ['phpredis' => ['phpredis'], 'Predis' => ['predis']];
    }

    /** @dataProvider Toporia\Realtime\Tests\Idempotency\Stores::provideShared */
    #[DataProviderExternal(Stores::class, 'provideShared')]
    public function testExitInTheEffectIsLikeAKill(string $name): void
    {
        $stores = $this->open($name);
        $this->inAnotherProcess($stores, '
            $stores->run("s:1", "the one that exits", "topic-0-7", function () { exit(3); });
        ')->wait()->assertExit(3);
        self::assertSame(1, $stores->run('s:1', 'the next one', 'topic-0-7'));
        $kept = $stores->pdo === null ? ['the next one', 'the one that exits'] : ['the next one'];
        self::assertSame($kept, $stores->effects());
    }

    /** @dataProvider Toporia\Realtime\Tests\Support\Databases::provideServers */
    #[DataProviderExternal(Databases::class, 'provideServers')]
    public function testADatabaseThatCrashesBeforeTheCommit(string $driver): void
    {
        $dsn = Databases::startOwn($driver, 'crash');
        $pdo = new \PDO($dsn);
        try {
            $store = new \Toporia\Realtime\Idempotency\PdoStore(static function () use (&$pdo): \PDO {
                return $pdo;
            });
            $store->createTable();
            $pdo->exec('CREATE TABLE effects (what INT)');
            $effect = static function () use (&$pdo): void {
                $pdo->exec('INSERT INTO effects VALUES (1)');
            };
            try {
                $store->run(['s:1' => null], static function () use ($driver, $effect): void {
                    $effect();
                    Databases::kill($driver, 'crash');
                });
                self::fail('the commit has to fail');
            } catch (\Throwable $e) {
                self::assertNotSame('', $e->getMessage());
            }
            Databases::restart($driver, 'crash');
            $pdo = new \PDO($dsn);
            self::assertSame(0, (int) $pdo->query('SELECT count(*) FROM effects')->fetchColumn());
            self::assertSame(1, $store->run(['s:1' => null], $effect));
            self::assertSame(0, $store->run(['s:1' => null], $effect));
            self::assertSame(1, (int) $pdo->query('SELECT count(*) FROM effects')->fetchColumn());
        } finally {
            Databases::stop($driver, 'crash');
        }
    }
}
