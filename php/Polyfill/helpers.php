<?php

/**
 * Global functions for code written for Toporia, when no framework defines them: realtime(), broadcast(), config(),
 * env(), logger().
 *
 * Loaded by Polyfill only if no framework is found, and guarded, so that an application's own functions win. If Laravel
 * is loaded later, they delegate to it.
 */

declare(strict_types=1);

use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Polyfill\ErrorLog;
use Toporia\Realtime\Polyfill\LateLoadedLaravel;
use Toporia\Realtime\Polyfill\RealtimeManager;
use Toporia\Realtime\Polyfill\ConfigFiles;
use Toporia\Realtime\Realtime;

if (!function_exists('realtime')) {
    /**
     * The realtime manager: `realtime()->broadcast('user.1', 'order.created', $data)`, `realtime()->broker('kafka')`.
     */
    function realtime(): RealtimeManager
    {
        return RealtimeManager::instance();
    }
}

if (!function_exists('broadcast')) {
    /**
     * Realtime::broadcast() as a function; returns the message id.
     *
     * @param string|object|null $channel an object or null is only meant for Laravel
     */
    function broadcast(string|object|null $channel = null, string $event = '', mixed $data = null): mixed
    {
        if (!is_string($channel)) {
            return LateLoadedLaravel::isLoaded() ? LateLoadedLaravel::broadcast($channel) : throw new TypeError(
                'broadcast(): Argument #1 ($channel) must be of type string, ' . get_debug_type($channel) . ' given'
            );
        }

        return Realtime::broadcast($channel, $event, $data);
    }
}

if (!function_exists('config')) {
    /**
     * Reads a value of config/*.php: `config('realtime.brokers.kafka.topic_prefix', 'realtime')`.
     *
     * @param string|array<string, mixed>|null $key an array or null is only meant for Laravel
     */
    function config(string|array|null $key = null, mixed $default = null): mixed
    {
        if (LateLoadedLaravel::isLoaded()) {
            return LateLoadedLaravel::config($key, $default);
        }

        return is_string($key) ? ConfigFiles::get($key, $default) : throw new ConfigurationException(
            "config() reads one value of config/*.php, by its name: config('realtime.default_broker')."
        );
    }
}

if (!function_exists('env')) {
    /** Reads an environment variable. */
    function env(string $key, mixed $default = null): mixed
    {
        return LateLoadedLaravel::isLoaded() ? LateLoadedLaravel::env($key, $default) : ConfigFiles::env($key, $default);
    }
}

if (!function_exists('logger')) {
    /**
     * A PSR-3 style logger that writes to PHP's error log; given a message, logs it at level debug.
     *
     * @param array<string, mixed> $context
     *
     * @return ErrorLog|mixed Laravel's return value, if Laravel is loaded
     */
    function logger(mixed $message = null, array $context = []): mixed
    {
        if (LateLoadedLaravel::isLoaded()) {
            return LateLoadedLaravel::logger($message, $context);
        }
        static $logger = null;
        $logger ??= new ErrorLog();
        if ($message !== null) {
            $text = is_scalar($message) || $message instanceof Stringable ? (string) $message : json_encode($message);
            $logger->debug((string) $text, $context);
        }

        return $logger;
    }
}
