<?php

/**
 * Loads the classes of this example, the process starter of examples/orders, and the package.
 */

declare(strict_types=1);

require_once dirname(__DIR__) . '/orders/autoload.php';

spl_autoload_register(static function (string $class): void {
    if (str_starts_with($class, 'Saga\\')) {
        require __DIR__ . '/src/' . substr($class, strlen('Saga\\')) . '.php';
    }
});
