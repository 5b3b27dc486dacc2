<?php

/**
 * realtime() and broadcast() for Toporia applications whose helpers lack them.
 *
 * Loaded when the provider boots, after the helpers of the framework and the application.
 */

declare(strict_types=1);

use Toporia\Framework\Realtime\Contracts\RealtimeManagerInterface;
use Toporia\Realtime\Toporia\ToporiaHost;

if (!function_exists('realtime')) {
    /** Returns the framework's realtime manager. */
    function realtime(): RealtimeManagerInterface
    {
        return ToporiaHost::current()->manager();
    }
}

if (!function_exists('broadcast')) {
    /** Calls `realtime()->broadcast()`. */
    function broadcast(string $channel, string $event, mixed $data = null): void
    {
        ToporiaHost::current()->manager()->broadcast($channel, $event, $data);
    }
}
