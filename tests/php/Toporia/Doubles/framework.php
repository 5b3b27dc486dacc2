<?php

/**
 * Loads the doubles of one generation of Toporia, then this package, like an application.
 *
 * They contain only the parts of the framework's interfaces that this package uses.
 */

declare(strict_types=1);

$generation = getenv('TOPORIA_GENERATION') ?: 'Newer';
spl_autoload_register(static function (string $class) use ($generation): void {
    $prefix = 'Toporia\\Framework\\';
    if (!str_starts_with($class, $prefix)) {
        return;
    }
    foreach ([$generation, 'Both'] as $folder) {
        $file = __DIR__ . "/$folder/" . strtr(substr($class, strlen($prefix)), '\\', '/') . '.php';
        if (is_file($file)) {
            require $file;

            return;
        }
    }
});
require dirname(__DIR__, 4) . '/php/autoload.php';
