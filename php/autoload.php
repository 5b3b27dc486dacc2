<?php

/** Loads the PHP layer without Composer: registers a PSR-4 autoloader, and loads Symfony Console if available. */

declare(strict_types=1);

(static function (): void {
    $root = dirname(__DIR__);
    if (is_file($root . '/vendor/autoload.php')) {
        require_once $root . '/vendor/autoload.php';
    }
    spl_autoload_register(static function (string $class) use ($root): void {
        $folders = ['Toporia\\Realtime\\Tests\\' => '/tests/php/', 'Toporia\\Realtime\\' => '/php/'];
        foreach ($folders as $prefix => $folder) {
            if (!str_starts_with($class, $prefix)) {
                continue;
            }
            $file = $root . $folder . strtr(substr($class, strlen($prefix)), '\\', '/') . '.php';
            if (is_file($file)) {
                require $file;

                return;
            }
        }
    });
    // Debian's php-symfony-console; a copy that the application has already loaded wins.
    $debian = '/usr/share/php/Symfony/Component/Console/autoload.php';
    if (!class_exists(Symfony\Component\Console\Application::class) && is_file($debian)) {
        require_once $debian;
    }
    require_once __DIR__ . '/bootstrap.php';
})();
