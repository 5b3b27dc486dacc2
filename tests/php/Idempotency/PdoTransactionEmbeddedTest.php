<?php

/**
 * Effect and mark in one transaction: of the wrapper, the caller or a framework; and callbacks that interfere with it.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Idempotency;

use Closure;
use PDO;
use PDOException;
use PHPUnit\Framework\Attributes\DataProviderExternal;
use RuntimeException;
use Throwable;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Idempotency\Idempotency;
use Toporia\Realtime\Idempotency\PdoStore;
use Toporia\Realtime\Idempotency\StoreException;
use Toporia\Realtime\Tests\Support\Databases;

final class PdoTransactionEmbeddedTest extends StoreTestCase
{
    /** @dataProvider Toporia\Realtime\Tests\Support\Databases::provide */
    #[DataProviderExternal(Databases::class, 'provide')]
    public function testTheMarkIsInvisibleUntilTheEffectIsCommitted(string $driver): void
    {
        $stores = $this->open($driver);
        $stores->run('s:1', 'effect', null, function () use ($stores): void {
            self::assertTrue($stores->pdo?->inTransaction());
            self::assertSame([], $stores->effects());
            self::assertSame(0, $this->marks($stores));
        });
        self::assertFalse($stores->pdo?->inTransaction());
        self::assertSame(['effect'], $stores->effects());
        self::assertSame(1, $this->marks($stores));
    }

    /** @dataProvider Toporia\Realtime\Tests\Support\Databases::provide */
    #[DataProviderExternal(Databases::class, 'provide')]
    public function testACallersTransactionCoversBoth(string $driver): void
    {
        $stores = $this->open($driver);
        $pdo = $stores->pdo;
        self::assertNotNull($pdo);
        $idempotency = new Idempotency($stores->store, 's');
        $pdo->beginTransaction();
        self::assertTrue($idempotency->once('1', static fn () => $stores->effect('rolled back')));
        self::assertTrue($pdo->inTransaction(), 'the code that began it ends it');
        $pdo->rollBack();
        self::assertSame([], $stores->effects());

        $pdo->beginTransaction();
        self::assertTrue($idempotency->once('1', static fn () => $stores->effect('committed')));
        self::assertFalse($idempotency->once('1', static fn () => $stores->effect('again')));
        $pdo->commit();
        self::assertFalse($idempotency->once('1', static fn () => $stores->effect('later')));
        self::assertSame(['committed'], $stores->effects());
    }

    /** @dataProvider Toporia\Realtime\Tests\Support\Databases::provide */
    #[DataProviderExternal(Databases::class, 'provide')]
    public function testAnExceptionInACallersTransactionRollsBackOnlyItsOwnWork(string $driver): void
    {
        $stores = $this->open($driver);
        $pdo = $stores->pdo;
        self::assertNotNull($pdo);
        $pdo->beginTransaction();
        $stores->effect('before');
        try {
            $stores->run('s:1', 'failed', null, static fn () => throw new RuntimeException('no'));
            self::fail('it has to throw');
        } catch (RuntimeException) {
            $stores->effect('after');
        }
        $stores->run('s:2', 'another');
        $pdo->commit();
        self::assertSame(['after', 'another', 'before'], $stores->effects());
        self::assertSame(1, $stores->run('s:1', 'now'));
        self::assertSame(0, $stores->run('s:2', 'no'));
    }

    /** @dataProvider Toporia\Realtime\Tests\Support\Databases::provide */
    #[DataProviderExternal(Databases::class, 'provide')]
    public function testAFailedStatementInACallersTransactionLeavesItUsable(string $driver): void
    {
        $stores = $this->open($driver);
        $pdo = $stores->pdo;
        self::assertNotNull($pdo);
        $pdo->beginTransaction();
        try {
            $stores->run('s:1', 'failed', null, static fn () => $pdo->exec('INSERT INTO no_such_table VALUES (1)'));
            self::fail('it has to throw');
        } catch (PDOException) {
            $stores->effect('after');
        }
        $pdo->commit();
        self::assertSame(['after'], $stores->effects(), 'PostgreSQL too');
    }

    /** @dataProvider Toporia\Realtime\Tests\Support\Databases::provide */
    #[DataProviderExternal(Databases::class, 'provide')]
    public function testAFrameworksOwnTransaction(string $driver): void
    {
        $levels = 0;
        $pdo = null;
        // Like Laravel's DB::transaction(): nested calls become savepoints, and a nested beginTransaction() would
        // throw.
        $transaction = static function (Closure $work) use (&$levels, &$pdo): mixed {
            self::assertInstanceOf(PDO::class, $pdo);
            $levels === 0 ? $pdo->beginTransaction() : $pdo->exec("SAVEPOINT level_$levels");
            $levels++;
            try {
                $result = $work();
            } catch (Throwable $e) {
                $levels--;
                $levels === 0 ? $pdo->rollBack() : $pdo->exec("ROLLBACK TO SAVEPOINT level_$levels");
                throw $e;
            }
            $levels--;
            $levels === 0 ? $pdo->commit() : $pdo->exec("RELEASE SAVEPOINT level_$levels");

            return $result;
        };
        $stores = $this->open($driver, ['transaction' => $transaction]);
        $pdo = $stores->pdo;
        $nested = static fn () => $transaction(static fn () => $stores->effect('nested'));
        self::assertSame(1, $stores->run('s:1', 'effect', null, $nested));
        self::assertSame(0, $stores->run('s:1', 'effect', null, $nested));
        self::assertSame(['effect', 'nested'], $stores->effects());
        try {
            $stores->run('s:2', 'failed', null, static fn () => throw new RuntimeException('no'));
            self::fail('it has to throw');
        } catch (RuntimeException) {
            self::assertSame(['effect', 'nested'], $stores->effects());
        }
        self::assertSame(1, $stores->run('s:2', 'effect 2'));
    }

    /** @dataProvider Toporia\Realtime\Tests\Support\Databases::provide */
    #[DataProviderExternal(Databases::class, 'provide')]
    public function testATransactionOnAnotherConnectionIsRefused(string $driver): void
    {
        $other = Databases::connect($driver);
        $stores = $this->open($driver, ['transaction' => static function (Closure $work) use ($other): void {
            $other->beginTransaction();
            try {
                $work();
            } finally {
                $other->rollBack();
            }
        }]);
        $this->expectException(ConfigurationException::class);
        $this->expectExceptionMessage('same connection');
        $stores->run('s:1', 'effect');
    }

    /** @dataProvider Toporia\Realtime\Tests\Support\Databases::provide */
    #[DataProviderExternal(Databases::class, 'provide')]
    public function testACallbackThatEndsTheTransactionIsReported(string $driver): void
    {
        foreach (['commit', 'rollBack'] as $end) {
            $stores = $this->open($driver);
            try {
                $stores->run('s:1', 'effect', null, static fn () => $stores->pdo?->$end());
                self::fail('it has to throw');
            } catch (StoreException $e) {
                self::assertStringContainsString('no longer atomic', $e->getMessage());
            }
            // Committed work is marked, rolled back work is not: still one.
            self::assertCount($this->marks($stores), $stores->effects());
            self::assertSame($end === 'commit' ? 0 : 1, $stores->run('s:1', 'again'));
        }
    }

    public function testOnMariaDbCreatingATableEndsTheTransactionAndIsReported(): void
    {
        $stores = $this->open('mysql');
        $this->expectException(StoreException::class);
        $this->expectExceptionMessage('creates or alters tables');
        $stores->run('s:1', 'effect', null, static function () use ($stores): void {
            $stores->pdo?->exec("ALTER TABLE {$stores->table}_effects ADD COLUMN more INT");
        });
    }

    public function testOnPostgresAnErrorThatIsCaughtLosesNothingSilently(): void
    {
        $stores = $this->open('pgsql');
        $swallows = static function () use ($stores): void {
            try {
                $stores->pdo?->exec('INSERT INTO no_such_table VALUES (1)');
            } catch (PDOException) {
                // PostgreSQL has aborted the transaction; its COMMIT would roll back without an error.
            }
        };
        try {
            $stores->run('s:1', 'effect', null, $swallows);
            self::fail('it has to throw');
        } catch (StoreException $e) {
            self::assertStringContainsString('aborted', $e->getMessage());
        }
        self::assertSame([], $stores->effects());
        self::assertSame(1, $stores->run('s:1', 'again'), 'and it is not marked as handled');
    }

    public function testOnPostgresACommitThatFailsLeavesNoMark(): void
    {
        $stores = $this->open('pgsql');
        $stores->pdo?->exec("ALTER TABLE {$stores->table}_effects ADD UNIQUE (what) DEFERRABLE INITIALLY DEFERRED");
        $stores->effect('taken');
        try {
            $stores->run('s:1', 'taken');
            self::fail('it has to throw');
        } catch (PDOException $e) {
            self::assertSame('23505', $e->getCode());
        }
        self::assertSame(1, $stores->run('s:1', 'free'));
    }

    /** @dataProvider Toporia\Realtime\Tests\Support\Databases::provide */
    #[DataProviderExternal(Databases::class, 'provide')]
    public function testAConnectionThatHidesErrorsIsRefused(string $driver): void
    {
        $pdo = Databases::connect($driver, [PDO::ATTR_ERRMODE => PDO::ERRMODE_SILENT]);
        $this->expectException(ConfigurationException::class);
        $this->expectExceptionMessage('ERRMODE_EXCEPTION');
        (new PdoStore($pdo))->run(['s:1' => null], static fn () => self::fail('it must not run'));
    }

    private function marks(Stores $stores): int
    {
        return (int) Databases::connect($stores->name)->query("SELECT count(*) FROM $stores->table")->fetchColumn();
    }
}
