<?php

/**
 * The global functions of the guides, where no framework has them: realtime(), broadcast(), config(), env(), logger().
 *
 * Loaded by Polyfill only after it has found no framework, and guarded besides: an application's own functions win.
 */

declare(strict_types=1);

use Toporia\Realtime\Polyfill\ErrorLog;
use Toporia\Realtime\Polyfill\RealtimeManager;
use Toporia\Realtime\Polyfill\Settings;
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
     */
    function broadcast(string $channel, string $event, mixed $data = null): string
    {
        return Realtime::broadcast($channel, $event, $data);
    }
}

if (!function_exists('config')) {
    /**
     * A value of config/*.php: `config('realtime.brokers.kafka.topic_prefix', 'realtime')`.
     */
    function config(string $key, mixed $default = null): mixed
    {
        return Settings::get($key, $default);
    }
}

if (!function_exists('env')) {
    /**
     * A variable of the environment.
     */
    function env(string $key, mixed $default = null): mixed
    {
        return Settings::env($key, $default);
    }
}

if (!function_exists('logger')) {
    /**
     * PHP's error log with the methods of PSR-3; with a message, writes it at once.
     *
     * @param array<string, mixed> $context
     */
    function logger(?string $message = null, array $context = []): ErrorLog
    {
        static $logger = null;
        $logger ??= new ErrorLog();
        if ($message !== null) {
            $logger->debug($message, $context);
        }

        return $logger;
    }
}
