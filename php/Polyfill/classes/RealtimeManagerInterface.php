<?php

/**
 * Stands in for the framework's contract of the realtime manager, for code that was written for Toporia and runs
 * without it.
 */

declare(strict_types=1);

namespace Toporia\Framework\Realtime\Contracts;

/**
 * What services and commands of the guides ask for in their constructors.
 */
interface RealtimeManagerInterface
{
    /**
     * Sends an event to a channel; never waits for Kafka.
     */
    public function broadcast(string $channel, string $event, mixed $data): void;

    /**
     * A broker by its name; null where the configuration has none of that name.
     *
     * @param string|null $name null: the default one
     */
    public function broker(?string $name = null): ?BrokerInterface;
}
