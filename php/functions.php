<?php

/**
 * The package's namespaced functions, the same in every host.
 *
 * Guarded, because ./console and an application's vendor/ may each contain a copy of this file.
 */

declare(strict_types=1);

namespace Toporia\Realtime;

if (!\function_exists(__NAMESPACE__ . '\broadcast')) {
    /**
     * Realtime::broadcast() as a function.
     *
     *     use function Toporia\Realtime\broadcast;
     *
     *     broadcast('user.1', 'order.created', ['id' => 7]);
     *
     * @param string|array<int, string> $channel a channel, or a list of them
     * @param mixed $data anything json_encode() takes
     * @param string|null $key the record key; null: the channel
     * @param array<string, scalar|list<scalar|null>|null> $headers record headers; a list: several of this name
     * @param string|null $except socket id of the browser to exclude
     *
     * @return string the message id
     *
     * @throws Exception\RealtimeException as Realtime::broadcast() does
     */
    function broadcast(
        string|array $channel,
        string $event,
        mixed $data = null,
        ?string $key = null,
        array $headers = [],
        ?string $except = null
    ): string {
        return Realtime::broadcast($channel, $event, $data, $key, $headers, $except);
    }

    /**
     * Realtime::broker() as a function: `realtime()->subscribe('user.*', $callback)->consume()`.
     *
     * @param string|null $broker a key of `realtime.brokers`; null: the default broker
     *
     * @throws Exception\ConfigurationException an unknown name
     */
    function realtime(?string $broker = null): Broker
    {
        return Realtime::broker($broker);
    }
}
