<?php

/**
 * Creates a Laravel application from examples/laravel, in the state after `composer install`.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Support;

use FilesystemIterator;
use RecursiveDirectoryIterator;
use RecursiveIteratorIterator;
use RuntimeException;

final class LaravelApplication
{
    /** Debian's php-laravel-framework; REALTIME_TEST_LARAVEL names the autoloader of another version. */
    private const FRAMEWORK = '/usr/share/php/Illuminate/autoload.php';

    /**
     * @param string $directory must not exist yet
     */
    public static function create(string $directory): void
    {
        $framework = getenv('REALTIME_TEST_LARAVEL') ?: self::FRAMEWORK;
        if (!is_file($framework)) {
            throw new RuntimeException("There is no Laravel at $framework. Install it: make setup");
        }
        $root = dirname(__DIR__, 3);
        self::copy("$root/examples/laravel", $directory);
        // The list that package discovery reads, and the autoloader.
        mkdir("$directory/vendor/composer", 0755, true);
        $package = json_decode((string) file_get_contents("$root/composer.json"), true);
        $installed = json_encode(['packages' => [$package]], JSON_THROW_ON_ERROR);
        file_put_contents("$directory/vendor/composer/installed.json", $installed);
        [$framework, $ours] = [var_export($framework, true), var_export("$root/php/autoload.php", true)];
        file_put_contents("$directory/vendor/autoload.php", <<<PHP
            <?php

            require_once $framework;
            require_once $ours;
            spl_autoload_register(static function (string \$class): void {
                \$file = dirname(__DIR__) . '/' . lcfirst(strtr(\$class, '\\\\', '/')) . '.php';
                if (str_starts_with(\$class, 'App\\\\') && is_file(\$file)) {
                    require \$file;
                }
            });
            PHP);
    }

    /**
     * Removes it with all its files.
     */
    public static function remove(string $directory): void
    {
        $files = new RecursiveIteratorIterator(
            new RecursiveDirectoryIterator($directory, FilesystemIterator::SKIP_DOTS),
            RecursiveIteratorIterator::CHILD_FIRST
        );
        foreach ($files as $path => $file) {
            $file->isDir() && !$file->isLink() ? rmdir((string) $path) : unlink((string) $path);
        }
        rmdir($directory);
    }

    private static function copy(string $from, string $to): void
    {
        $files = new RecursiveIteratorIterator(
            new RecursiveDirectoryIterator($from, FilesystemIterator::SKIP_DOTS),
            RecursiveIteratorIterator::SELF_FIRST
        );
        mkdir($to, 0700, true);
        foreach ($files as $path => $file) {
            $target = $to . substr((string) $path, strlen($from));
            $file->isDir() ? mkdir($target) : copy((string) $path, $target);
        }
    }
}
