<?php

/**
 * The key table: created, missing, purged; connections from a factory, and with unusual attributes.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Idempotency;

use PDO;
use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\Attributes\DataProviderExternal;
use stdClass;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Idempotency\PdoStore;
use Toporia\Realtime\Idempotency\StoreException;
use Toporia\Realtime\Tests\Support\Databases;

final class PdoTableEmbeddedTest extends StoreTestCase
{
    /** @dataProvider Toporia\Realtime\Tests\Support\Databases::provide */
    #[DataProviderExternal(Databases::class, 'provide')]
    public function testCreatingItAgainChangesNothing(string $driver): void
    {
        $stores = $this->open($driver);
        $stores->run('s:1', 'effect');
        self::assertInstanceOf(PdoStore::class, $stores->store);
        $stores->store->createTable();
        self::assertSame(0, $stores->run('s:1', 'again'));
    }

    /** @dataProvider Toporia\Realtime\Tests\Support\Databases::provide */
    #[DataProviderExternal(Databases::class, 'provide')]
    public function testTheSqlForAMigrationMakesTheSameTable(string $driver): void
    {
        $stores = $this->open($driver);
        $stores->pdo?->exec("DROP TABLE $stores->table");
        foreach (PdoStore::sql($driver, $stores->table) as $statement) {
            $stores->pdo?->exec($statement);
        }
        self::assertSame([1, 0], [$stores->run('s:1', 'effect'), $stores->run('s:1', 'again')]);
    }

    /** @dataProvider Toporia\Realtime\Tests\Support\Databases::provide */
    #[DataProviderExternal(Databases::class, 'provide')]
    public function testAMissingTableNamesTheRemedy(string $driver): void
    {
        $stores = $this->open($driver);
        $stores->pdo?->exec("DROP TABLE $stores->table");
        try {
            $stores->run('s:1', 'effect');
            self::fail('it has to throw');
        } catch (StoreException $e) {
            self::assertStringContainsString($stores->table, $e->getMessage());
            self::assertStringContainsString('createTable()', $e->getMessage());
        }
        self::assertFalse($stores->pdo?->inTransaction());
        self::assertSame([], $stores->effects());
    }

    /** @dataProvider Toporia\Realtime\Tests\Support\Databases::provide */
    #[DataProviderExternal(Databases::class, 'provide')]
    public function testPurgeRemovesExpiredKeys(string $driver): void
    {
        $now = 1000;
        $stores = $this->open($driver, ['ttl' => 60, 'clock' => static function () use (&$now): int {
            return $now;
        }]);
        self::assertInstanceOf(PdoStore::class, $stores->store);
        for ($i = 0; $i < 25; $i++) {
            $stores->run("s:$i", 'old');
        }
        $now = 1030;
        $stores->run('s:young', 'young');
        $now = 1059;
        self::assertSame(0, $stores->store->purge());
        $now = 1060;
        self::assertSame(10, $stores->store->purge(10), 'so many at most');
        self::assertSame(15, $stores->store->purge());
        self::assertSame(0, $stores->store->purge());
        self::assertSame(0, $stores->run('s:young', 'again'));
        self::assertSame(1, $stores->run('s:7', 'again'));
    }

    public function testOnPostgresTheTableMayHaveASchema(): void
    {
        $pdo = Databases::connect('pgsql');
        $schema = Databases::table('schema');
        $pdo->exec("CREATE SCHEMA $schema");
        try {
            $store = new PdoStore($pdo, "$schema.keys");
            $store->createTable();
            self::assertSame(1, $store->run(['s:1' => null], static fn () => null));
            self::assertSame(0, $store->run(['s:1' => null], static fn () => null));
        } finally {
            $pdo->exec("DROP SCHEMA $schema CASCADE");
        }
    }

    /** @dataProvider attributes */
    #[DataProvider('attributes')]
    public function testConnectionsWithOddAttributes(string $driver, int $attribute, mixed $value): void
    {
        $stores = $this->open($driver, ['ttl' => 1000]);
        $store = new PdoStore(Databases::connect($driver, [$attribute => $value]), $stores->table, clock: static fn () => 5);
        self::assertSame(1, $store->run(['s:1' => null], static fn () => null));
        self::assertSame(0, $store->run(['s:1' => null], static fn () => null));
        $later = new PdoStore(
            Databases::connect($driver, [$attribute => $value]),
            $stores->table,
            clock: static fn () => 604_900
        );
        self::assertSame(1, $later->run(['s:1' => null], static fn () => null), 'its time is over');
        self::assertSame(0, $later->run(['s:1' => null], static fn () => null));
    }

    /** @return array<string, array{string, int, mixed}> */
    public static function attributes(): array
    {
        // PHP 8.5 deprecates the constant of PDO; 8.4 introduced a class for MySQL's.
        $new = 'Pdo\Mysql::ATTR_FOUND_ROWS';
        $foundRows = defined($new) ? constant($new) : PDO::MYSQL_ATTR_FOUND_ROWS;

        return [
            'MariaDB, found rows' => ['mysql', $foundRows, true],
            'MariaDB, native prepares' => ['mysql', PDO::ATTR_EMULATE_PREPARES, false],
            'MariaDB, no autocommit' => ['mysql', PDO::ATTR_AUTOCOMMIT, 0],
            'PostgreSQL, emulated prepares' => ['pgsql', PDO::ATTR_EMULATE_PREPARES, true],
            'PostgreSQL, strings' => ['pgsql', PDO::ATTR_STRINGIFY_FETCHES, true],
            'PostgreSQL, persistent' => ['pgsql', PDO::ATTR_PERSISTENT, true],
            'SQLite, objects' => ['sqlite', PDO::ATTR_DEFAULT_FETCH_MODE, PDO::FETCH_OBJ],
        ];
    }

    /** @dataProvider Toporia\Realtime\Tests\Support\Databases::provide */
    #[DataProviderExternal(Databases::class, 'provide')]
    public function testAConnectionClosureIsCalledForEachMessage(string $driver): void
    {
        $stores = $this->open($driver);
        $asked = 0;
        $store = new PdoStore(static function () use ($driver, &$asked): PDO {
            $asked++;

            return Databases::connect($driver);
        }, $stores->table);
        self::assertSame(1, $store->run(['s:1' => null], static fn () => null));
        self::assertSame(0, $store->run(['s:1' => null], static fn () => null));
        self::assertSame(2, $asked, 'a replaced connection is checked immediately');
        $this->expectException(ConfigurationException::class);
        (new PdoStore(static fn () => new stdClass()))->run(['s:1' => null], static fn () => null);
    }

    /** @dataProvider badTables */
    #[DataProvider('badTables')]
    public function testATableNameIsAPlainOne(string $table): void
    {
        $this->expectException(ConfigurationException::class);
        $this->expectExceptionMessage('table name');
        new PdoStore(new PDO('sqlite::memory:'), $table);
    }

    /** @return array<string, array{string}> */
    public static function badTables(): array
    {
        return [
            'empty' => [''],
            'a statement' => ['t; DROP TABLE users'],
            'a digit first' => ['1t'],
            'two dots' => ['a.b.c'],
            'line end' => ["t\n"],
        ];
    }

    public function testAnUnknownDriverIsNamed(): void
    {
        $this->expectException(ConfigurationException::class);
        $this->expectExceptionMessage("'oci'");
        PdoStore::sql('oci');
    }
}
