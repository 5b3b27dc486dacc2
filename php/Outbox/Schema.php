<?php

declare(strict_types=1);

namespace Toporia\Realtime\Outbox;

use PDO;
use Toporia\Realtime\Exception\ConfigurationException;

/**
 * The tables of the outbox. For a migration of the application, or realtime:outbox:table:
 *
 *     foreach (Schema::create('pgsql') as $statement) {
 *         $pdo->exec($statement);
 *     }
 */
final class Schema
{
    /**
     * The statements that create the tables and indexes; existing ones are left unchanged.
     *
     * @param PDO|string $for a connection, or the name of a PDO driver: sqlite, pgsql, mysql (MariaDB and MySQL)
     *
     * @return list<string>
     *
     * @throws ConfigurationException an unsupported database, or an invalid name
     */
    public static function create(PDO|string $for, string $table = Outbox::TABLE): array
    {
        Platform::checkTable($table);
        $driver = is_string($for) ? $for : (string) $for->getAttribute(PDO::ATTR_DRIVER_NAME);

        return Platform::of($driver)->create($table);
    }

    /**
     * The statements that drop the tables with all rows.
     *
     * @param PDO|string $for see create()
     *
     * @return list<string>
     *
     * @throws ConfigurationException an unsupported database, or an invalid name
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
