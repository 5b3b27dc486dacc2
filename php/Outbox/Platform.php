<?php

declare(strict_types=1);

namespace Toporia\Realtime\Outbox;

use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Outbox\Lock\ShardLock;
use Toporia\Realtime\Outbox\Platform\MariaDb;
use Toporia\Realtime\Outbox\Platform\PostgreSql;
use Toporia\Realtime\Outbox\Platform\Sqlite;

/**
 * The differences between databases: identifiers, clocks, tables and locks. One implementation per PDO driver.
 */
abstract class Platform
{
    /** Names of the supported PDO drivers. */
    public const DRIVERS = ['sqlite', 'pgsql', 'mysql'];

    /**
     * The platform of a PDO driver.
     *
     * @param string $driver `sqlite`, `pgsql` or `mysql` (MariaDB and MySQL)
     *
     * @throws ConfigurationException an unsupported driver
     */
    public static function of(string $driver): self
    {
        return match ($driver) {
            'sqlite' => new Sqlite(),
            'pgsql' => new PostgreSql(),
            'mysql' => new MariaDb(),
            default => throw new ConfigurationException(
                "The outbox does not support the PDO driver '$driver'; supported are sqlite, pgsql and mysql (MariaDB)."
            ),
        };
    }

    /**
     * Validates a table name.
     *
     * @throws ConfigurationException not a table name; it could contain SQL
     */
    public static function checkTable(string $table): void
    {
        if (preg_match('/\A([A-Za-z_]\w{0,40}\.)?[A-Za-z_]\w{0,40}\z/', $table) !== 1) {
            throw new ConfigurationException(
                "'$table' is not a valid name for the outbox table: at most 41 letters, digits and _, such as "
                . 'realtime_outbox or app.realtime_outbox.'
            );
        }
    }

    /**
     * The table for leases, used without advisory locks.
     */
    public static function leases(string $table): string
    {
        return $table . '_lease';
    }

    /**
     * Quotes a table name, with its schema.
     */
    public function quote(string $table): string
    {
        $quote = $this->identifierQuote();

        return $quote . str_replace('.', "$quote.$quote", $table) . $quote;
    }

    /**
     * The statements that create the tables; existing tables are left unchanged.
     *
     * @return list<string>
     */
    abstract public function create(string $table): array;

    /**
     * SQL for the database's current time in Unix ms, shared by relays on several machines.
     */
    abstract public function now(): string;

    /**
     * The advisory lock for shards; null if the database only supports leases.
     */
    abstract public function advisoryLock(Database $database, string $table): ?ShardLock;

    /** The identifier quote character. */
    abstract protected function identifierQuote(): string;

    /** The table name without schema; indexes belong to the schema of their table. */
    protected static function base(string $table): string
    {
        return substr((string) strrchr('.' . $table, '.'), 1);
    }
}
