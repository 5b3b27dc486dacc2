<?php

/**
 * Laravel, where it could not be autoloaded yet when our functions were defined: they hand over to it.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Polyfill;

use Illuminate\Container\Container;
use Illuminate\Contracts\Broadcasting\Factory;
use Illuminate\Support\Env;

/**
 * Composer loads the files of packages before those of the application, so a framework that is only found through one
 * of the latter (Debian's php-laravel-framework, an autoloader of one's own) is seen too late to step aside for. Its
 * helpers are guarded and find their names taken; what ours do is then what its own would do.
 */
final class LateLoadedLaravel
{
    /**
     * Whether an application was made in this process.
     */
    public static function isLoaded(): bool
    {
        return class_exists('Illuminate\Foundation\Application', false);
    }

    /**
     * Laravel's config().
     *
     * @param array<string, mixed>|string|null $key
     */
    public static function config(array|string|null $key, mixed $default): mixed
    {
        $config = Container::getInstance()->make('config');

        return match (true) {
            $key === null => $config,
            is_array($key) => $config->set($key),
            default => $config->get($key, $default),
        };
    }

    /**
     * Laravel's env().
     */
    public static function env(string $key, mixed $default): mixed
    {
        return Env::get($key, $default);
    }

    /**
     * Laravel's logger().
     *
     * @param array<string, mixed> $context
     */
    public static function logger(mixed $message, array $context): mixed
    {
        $log = Container::getInstance()->make('log');

        return $message === null ? $log : $log->debug($message, $context);
    }

    /**
     * Laravel's broadcast(): an event object, and nothing more.
     */
    public static function broadcast(mixed $event): mixed
    {
        return Container::getInstance()->make(Factory::class)->event($event);
    }
}
