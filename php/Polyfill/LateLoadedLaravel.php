<?php

declare(strict_types=1);

namespace Toporia\Realtime\Polyfill;

use Illuminate\Container\Container;
use Illuminate\Contracts\Broadcasting\Factory;
use Illuminate\Support\Env;

/**
 * Delegates our global functions to a Laravel that was loaded after they were defined. Composer loads the files of
 * packages before those of the application. A Laravel that only the application's files make available (Debian's
 * php-laravel-framework, a custom autoloader) is therefore detected too late. Its own helpers are guarded by
 * function_exists() and skip the names we have taken, so our functions do what its helpers would do.
 */
final class LateLoadedLaravel
{
    /** True if Laravel's Application class is loaded. */
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

    /** Laravel's env(). */
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

    /** Laravel's broadcast(): takes an event object only. */
    public static function broadcast(mixed $event): mixed
    {
        return Container::getInstance()->make(Factory::class)->event($event);
    }
}
