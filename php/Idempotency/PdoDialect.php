<?php

declare(strict_types=1);

namespace Toporia\Realtime\Idempotency;

use Toporia\Realtime\Exception\ConfigurationException;

/**
 * The SQL of the key table for SQLite, PostgreSQL and MariaDB or MySQL. The table has two columns: `id`, the key,
 * compared bytewise, and `expires_at` in Unix seconds.
 */
final class PdoDialect
{
    private const DRIVERS = ['sqlite', 'pgsql', 'mysql'];

    /**
     * @param string $driver name of the PDO driver: sqlite, pgsql or mysql
     * @param string $table table name, optionally with its schema
     *
     * @throws ConfigurationException an unsupported database, or a name that would need quoting
     */
    public function __construct(public readonly string $driver, public readonly string $table)
    {
        if (!in_array($driver, self::DRIVERS, true)) {
            throw new ConfigurationException(
                "PdoStore supports the PDO drivers " . implode(', ', self::DRIVERS) . ", not '$driver'."
            );
        }
        self::checkTable($table);
    }

    /** @throws ConfigurationException a name that would need quoting */
    public static function checkTable(string $table): void
    {
        if (preg_match('/^[A-Za-z_][A-Za-z0-9_]{0,62}(\.[A-Za-z_][A-Za-z0-9_]{0,62})?$/D', $table) !== 1) {
            throw new ConfigurationException(
                "'$table' is not a valid table name for PdoStore: letters, digits and _, optionally with a schema and "
                    . "a dot in front."
            );
        }
    }

    /**
     * The statements that create the table, for a migration.
     *
     * @return list<string>
     */
    public function create(): array
    {
        $bytes = Key::MAX_BYTES;
        $index = str_replace('.', '_', $this->table) . '_expires';

        return match ($this->driver) {
            // VARBINARY: no collation that equates 'A' with 'a' or ignores trailing spaces.
            'mysql' => [
                "CREATE TABLE IF NOT EXISTS $this->table (id VARBINARY($bytes) NOT NULL PRIMARY KEY, "
                . "expires_at BIGINT NOT NULL, KEY $index (expires_at)) ENGINE=InnoDB",
            ],
            'pgsql' => [
                "CREATE TABLE IF NOT EXISTS $this->table (id VARCHAR($bytes) COLLATE \"C\" NOT NULL PRIMARY KEY, "
                . 'expires_at BIGINT NOT NULL)',
                "CREATE INDEX IF NOT EXISTS $index ON $this->table (expires_at)",
            ],
            default => [
                "CREATE TABLE IF NOT EXISTS $this->table (id TEXT NOT NULL PRIMARY KEY, expires_at INTEGER NOT NULL) "
                . 'WITHOUT ROWID',
                "CREATE INDEX IF NOT EXISTS $index ON $this->table (expires_at)",
            ],
        };
    }

    /**
     * The statements that mark a key, executed until one affects a row; none does if the key is already marked. They
     * raise no error in that case, because an error would abort PostgreSQL's transaction. Parameters: id, expires, now
     * (as used).
     *
     * @return list<string>
     */
    public function mark(): array
    {
        if ($this->driver === 'mysql') {
            // Not ON DUPLICATE KEY: its row count has a different meaning under PDO::MYSQL_ATTR_FOUND_ROWS. The failed
            // insert locks the existing row, so it is still there for the update.
            return [
                "INSERT IGNORE INTO $this->table (id, expires_at) VALUES (:id, :expires)",
                "UPDATE $this->table SET expires_at = :expires WHERE id = :id AND expires_at <= :now",
            ];
        }

        // A single statement: between two, a purge could remove the expired row.
        return [
            "INSERT INTO $this->table AS marked (id, expires_at) VALUES (:id, :expires) "
            . 'ON CONFLICT (id) DO UPDATE SET expires_at = excluded.expires_at WHERE marked.expires_at <= :now',
        ];
    }

    /** Deletes up to $limit expired keys (:now). */
    public function purge(int $limit): string
    {
        if ($this->driver === 'mysql') {
            return "DELETE FROM $this->table WHERE expires_at <= :now LIMIT $limit";
        }

        // Check the condition again outside: in PostgreSQL, a row seen as expired by the inner query may have been
        // renewed.
        return "DELETE FROM $this->table WHERE expires_at <= :now AND id IN "
            . "(SELECT id FROM $this->table WHERE expires_at <= :also LIMIT $limit)";
    }
}
