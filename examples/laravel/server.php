<?php

/**
 * The router of `php artisan serve` in Laravel 8; later versions include one. Files in public/ are served unchanged.
 */

declare(strict_types=1);

$path = urldecode((string) parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH));
if ($path !== '/' && is_file(__DIR__ . "/public$path")) {
    return false;
}

require __DIR__ . '/public/index.php';
