<?php

/**
 * The tables of the outbox.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Outbox;

use PDO;
use Toporia\Realtime\Exception\ConfigurationException;

/**
 * For a migration of the application's own, or for realtime:outbox:table:
 *
 *     foreach (Schema::create('pgsql') as $statement) {
 *         $pdo->exec($statement);
 *     }
 */
final class Schema
{
    /**
     * The statements that make the tables and their indexes; harmless where they exist.
     *
     * @param PDO|string $for a connection, or the name of a PDO driver: sqlite, pgsql, mysql (MariaDB and MySQL)
     *
     * @return list<string>
     *
     * @throws ConfigurationException another database, or an impossible name
     */
    public static function create(PDO|string $for, string $table = Outbox::TABLE): array
    {
        Platform::checkTable($table);
        $driver = is_string($for) ? $for : (string) $for->getAttribute(PDO::ATTR_DRIVER_NAME);

        return Platform::of($driver)->create($table);
    }

    /**
     * The statements that remove them, with everything in them.
     *
     * @param PDO|string $for as for create()
     *
     * @return list<string>
     *
     * @throws ConfigurationException another database, or an impossible name
     */
    public static function drop(PDO|string $for, string $table = Outbox::TABLE): array
    {
        Platform::checkTable($table);
        $platform = Platform::of(is_string($for) ? $for : (string) $for->getAttribute(PDO::ATTR_DRIVER_NAME));

        return array_map(
            static fn (string $name): string => 'DROP TABLE IF EXISTS ' . $platform->quote($name),
            [$table, Platform::leases($table)]
        );
    }
}
