<?php

/**
 * Stands in for open-telemetry/api, which no package source of the tests has: the classes and methods that the adapter
 * uses, with the names, parameters and semantics of its public API (1.x). Spans are kept in Globals::$spans.
 */

declare(strict_types=1);

spl_autoload_register(static function (string $class): void {
    $prefix = 'OpenTelemetry\\';
    $file = __DIR__ . '/' . strtr(substr($class, strlen($prefix)), '\\', '/') . '.php';
    if (str_starts_with($class, $prefix) && is_file($file)) {
        require $file;
    }
});
