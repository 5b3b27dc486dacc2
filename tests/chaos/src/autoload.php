<?php

/**
 * Loads the PHP layer and this suite's classes.
 */

declare(strict_types=1);

require dirname(__DIR__, 3) . '/php/autoload.php';

spl_autoload_register(static function (string $class): void {
    if (str_starts_with($class, 'Toporia\\Realtime\\Chaos\\')) {
        require __DIR__ . '/' . basename(strtr($class, '\\', '/')) . '.php';
    }
});
