<?php

/**
 * The part of the manager's interface that brokers use.
 */

declare(strict_types=1);

namespace Toporia\Framework\Realtime\Contracts;

interface RealtimeManagerInterface
{
    public function broadcast(string $channel, string $event, mixed $data): void;

    public function broker(?string $name = null): ?BrokerInterface;
}
