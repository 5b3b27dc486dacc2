<?php

declare(strict_types=1);

namespace Toporia\Realtime\Outbox;

use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Outbox\Lock\MariaDbLock;
use Toporia\Realtime\Outbox\Lock\PostgreSqlLock;
use Toporia\Realtime\Outbox\Lock\ShardLock;

/** The differences between databases: identifiers, clocks and locks. Schema has the tables. */
final class Platform
{
    /** Names of the supported PDO drivers. */
    public const DRIVERS = ['sqlite', 'pgsql', 'mysql'];

    private function __construct(private string $driver)
    {
    }

    /**
     * The platform of a PDO driver.
     *
     * @param string $driver `sqlite`, `pgsql` or `mysql` (MariaDB and MySQL)
     *
     * @throws ConfigurationException an unsupported driver
     */
    public static function of(string $driver): self
    {
        return in_array($driver, self::DRIVERS, true) ? new self($driver) : throw new ConfigurationException(
            "The outbox does not support the PDO driver '$driver'; supported are sqlite, pgsql and mysql (MariaDB)."
        );
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

    /** The table for leases, used without advisory locks. */
    public static function leases(string $table): string
    {
        return $table . '_lease';
    }

    /** Quotes a table name, with its schema. */
    public function quote(string $table): string
    {
        $quote = $this->driver === 'mysql' ? '`' : '"';

        return $quote . str_replace('.', "$quote.$quote", $table) . $quote;
    }

    /** SQL for the database's current time in Unix ms, shared by relays on several machines. */
    public function now(): string
    {
        return match ($this->driver) {
            'mysql' => 'CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000 AS SIGNED)',
            'pgsql' => 'CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)',
            default => "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
        };
    }

    /** The advisory lock for shards; null if the database only supports leases. */
    public function advisoryLock(Database $database, string $table): ?ShardLock
    {
        return match ($this->driver) {
            'mysql' => new MariaDbLock($database, $table),
            'pgsql' => new PostgreSqlLock($database, $table),
            default => null,
        };
    }
}
