<?php

/**
 * realtime() and broadcast() of the guides in a Toporia application whose helpers do not have them.
 *
 * Loaded when the provider boots, which is after the framework's and the application's own helpers.
 */

declare(strict_types=1);

use Toporia\Framework\Realtime\Contracts\RealtimeManagerInterface;
use Toporia\Realtime\Toporia\ToporiaHost;

if (!function_exists('realtime')) {
    /**
     * The framework's realtime manager.
     */
    function realtime(): RealtimeManagerInterface
    {
        return ToporiaHost::current()->manager();
    }
}

if (!function_exists('broadcast')) {
    /**
     * `realtime()->broadcast()` as a function.
     */
    function broadcast(string $channel, string $event, mixed $data = null): void
    {
        ToporiaHost::current()->manager()->broadcast($channel, $event, $data);
    }
}
