<?php

/**
 * What the databases do differently: names, clocks, the tables, and who holds a shard.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Outbox;

use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Outbox\Lock\ShardLock;
use Toporia\Realtime\Outbox\Platform\MariaDb;
use Toporia\Realtime\Outbox\Platform\PostgreSql;
use Toporia\Realtime\Outbox\Platform\Sqlite;

/**
 * One implementation for each PDO driver.
 */
abstract class Platform
{
    /** The names PDO has for them. */
    public const DRIVERS = ['sqlite', 'pgsql', 'mysql'];

    /**
     * The one of a PDO driver.
     *
     * @param string $driver `sqlite`, `pgsql` or `mysql` (MariaDB and MySQL)
     *
     * @throws ConfigurationException another driver
     */
    public static function of(string $driver): self
    {
        return match ($driver) {
            'sqlite' => new Sqlite(),
            'pgsql' => new PostgreSql(),
            'mysql' => new MariaDb(),
            default => throw new ConfigurationException(
                "The outbox has no tables for the PDO driver '$driver'; it has for sqlite, pgsql and mysql (MariaDB)."
            ),
        };
    }

    /**
     * A table's name.
     *
     * @throws ConfigurationException something else, which might be SQL
     */
    public static function checkTable(string $table): void
    {
        if (preg_match('/\A([A-Za-z_]\w{0,40}\.)?[A-Za-z_]\w{0,40}\z/', $table) !== 1) {
            throw new ConfigurationException(
                "'$table' cannot be the outbox table: a name has letters, digits and _, 41 at most, such as "
                . 'realtime_outbox or app.realtime_outbox.'
            );
        }
    }

    /**
     * The table in which shards are leased, where no advisory lock does it.
     */
    public static function leases(string $table): string
    {
        return $table . '_lease';
    }

    /**
     * A table's name, quoted part by part.
     */
    public function quote(string $table): string
    {
        $quote = $this->identifierQuote();

        return $quote . str_replace('.', "$quote.$quote", $table) . $quote;
    }

    /**
     * The statements that make the tables; harmless where they exist.
     *
     * @return list<string>
     */
    abstract public function create(string $table): array;

    /**
     * SQL for the database's own clock, in Unix ms: relays on several machines agree on it.
     */
    abstract public function now(): string;

    /**
     * The lock by which a relay of this connection holds shards; null: this database has only leases.
     */
    abstract public function advisoryLock(Database $database, string $table): ?ShardLock;

    /** What a name is put between. */
    abstract protected function identifierQuote(): string;

    /** The last part of a table's name: indexes live beside their table. */
    protected static function base(string $table): string
    {
        return substr((string) strrchr('.' . $table, '.'), 1);
    }
}
