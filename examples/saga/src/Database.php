<?php

/**
 * The database of a service: one file per service, because services do not read each other's data.
 */

declare(strict_types=1);

namespace Saga;

use PDO;

final class Database
{
    public static function of(string $service): PDO
    {
        $directory = getenv('SAGA_DIRECTORY') ?: sys_get_temp_dir();
        $db = new PDO("sqlite:$directory/$service.sqlite");
        $db->setAttribute(PDO::ATTR_ERRMODE, PDO::ERRMODE_EXCEPTION);
        $db->setAttribute(PDO::ATTR_DEFAULT_FETCH_MODE, PDO::FETCH_NUM);
        $db->exec('PRAGMA busy_timeout = 5000');

        return $db;
    }
}
