<?php

/**
 * Loads the classes of this example and the package; an application uses vendor/autoload.php instead.
 */

declare(strict_types=1);

require_once dirname(__DIR__, 2) . '/php/autoload.php';

spl_autoload_register(static function (string $class): void {
    if (str_starts_with($class, 'Orders\\')) {
        require __DIR__ . '/src/' . substr($class, strlen('Orders\\')) . '.php';
    }
});
