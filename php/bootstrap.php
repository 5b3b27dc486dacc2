<?php

/** Loaded by Composer and by autoload.php: defines the functions, and loads the stubs if the extension is missing. */

declare(strict_types=1);

require_once __DIR__ . '/functions.php';

if (!extension_loaded('toporia_realtime')) {
    spl_autoload_register(static function (string $class): void {
        $prefix = 'Toporia\\Realtime\\';
        if (!str_starts_with($class, $prefix)) {
            return;
        }
        $file = dirname(__DIR__) . '/stubs/' . strtr(substr($class, strlen($prefix)), '\\', '/') . '.php';
        if (is_file($file)) {
            require $file;
        }
    });
}

Toporia\Realtime\Polyfill\Polyfill::register();
