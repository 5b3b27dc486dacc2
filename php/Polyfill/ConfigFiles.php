<?php

declare(strict_types=1);

namespace Toporia\Realtime\Polyfill;

use Composer\InstalledVersions;
use Toporia\Realtime\Support\Environment;

/**
 * Backs config() and env() when no framework provides them. The arrays returned by config/*.php in the application's
 * directory, addressed as `file.key.key`.
 */
final class ConfigFiles
{
    private static ?string $directory = null;
    /** @var array<string, mixed> */
    private static array $files = [];

    /** Sets the application's directory. Default: the directory of the root package, else the working directory. */
    public static function useDirectory(string $directory): void
    {
        self::$directory = $directory;
        self::$files = [];
    }

    /** Sets the content of a file that was already loaded. */
    public static function set(string $file, mixed $value): void
    {
        self::$files[$file] = $value;
    }

    /** @param string $key `realtime.brokers.kafka.brokers`; the first part is the file */
    public static function get(string $key, mixed $default = null): mixed
    {
        $parts = explode('.', $key);
        $value = self::file((string) array_shift($parts));
        foreach ($parts as $part) {
            if (!is_array($value) || !array_key_exists($part, $value)) {
                return $default;
            }
            $value = $value[$part];
        }

        return $value ?? $default;
    }

    /** An environment variable; `true`, `false`, `null` and `empty` are converted. */
    public static function env(string $name, mixed $default = null): mixed
    {
        $value = $_ENV[$name] ?? $_SERVER[$name] ?? getenv($name);
        if ($value === false || $value === null) {
            return $default;
        }
        if (!is_string($value)) {
            return $value;
        }
        $value = Environment::clean($name, $value);

        return match (strtolower($value)) {
            'true', '(true)' => true,
            'false', '(false)' => false,
            'null', '(null)' => null,
            'empty', '(empty)' => '',
            default => preg_match('/\A([\'"])(.*)\1\z/s', $value, $match) === 1 ? $match[2] : $value,
        };
    }

    private static function file(string $name): mixed
    {
        if (!array_key_exists($name, self::$files)) {
            $file = self::directory() . "/config/$name.php";
            // Only file names, never paths: the key may come from outside.
            $known = preg_match('/\A[A-Za-z0-9_-]+\z/', $name) === 1 && is_file($file);
            self::$files[$name] = $known ? (static fn (): mixed => require $file)() : null;
        }

        return self::$files[$name];
    }

    private static function directory(): string
    {
        if (self::$directory === null) {
            $root = class_exists(InstalledVersions::class) ? InstalledVersions::getRootPackage() : [];
            $path = isset($root['install_path']) ? realpath($root['install_path']) : false;
            self::$directory = $path !== false ? $path : (getcwd() ?: '.');
        }

        return self::$directory;
    }
}
