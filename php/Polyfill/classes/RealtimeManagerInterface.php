<?php

declare(strict_types=1);

namespace Toporia\Framework\Realtime\Contracts;

/**
 * Polyfill of the framework's realtime manager contract, for code written for Toporia that runs without it. Services
 * and commands written for Toporia request it in their constructors.
 */
interface RealtimeManagerInterface
{
    /** Sends an event to a channel; never waits for Kafka. */
    public function broadcast(string $channel, string $event, mixed $data): void;

    /**
     * Returns the named broker; null if the configuration has no such broker.
     *
     * @param string|null $name null: the default broker
     */
    public function broker(?string $name = null): ?BrokerInterface;
}
