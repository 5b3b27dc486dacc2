<?php

/**
 * The manager of both generations: it catches a BrokerException, which the older one does not have, and nothing else.
 */

declare(strict_types=1);

namespace Toporia\Framework\Realtime;

use Toporia\Framework\Realtime\Contracts\BrokerInterface;
use Toporia\Framework\Realtime\Contracts\RealtimeManagerInterface;
use Toporia\Framework\Realtime\Exceptions\BrokerException;

final class RealtimeManager implements RealtimeManagerInterface
{
    /** @var array<string, BrokerInterface> */
    private array $brokers = [];
    /** @var list<string> what reached this server's own clients */
    public array $local = [];

    public function __construct(private array $config = [])
    {
    }

    public function broadcast(string $channel, string $event, mixed $data): void
    {
        $this->broadcastLocal($channel, $event, $data);
        $broker = $this->broker();
        if ($broker !== null) {
            try {
                $broker->publish($channel, Message::event($channel, $event, $data));
            } catch (BrokerException $e) {
                error_log("Broker publish failed: {$e->getMessage()}");
            }
        }
    }

    public function broadcastLocal(string $channel, string $event, mixed $data): void
    {
        $this->local[] = "$channel $event";
    }

    public function broker(?string $name = null): ?BrokerInterface
    {
        $name ??= $this->config['default_broker'] ?? null;
        if ($name === null || !isset($this->config['brokers'][$name])) {
            return null;
        }

        return $this->brokers[$name] ??= new Brokers\KafkaBroker($this->config['brokers'][$name], $this);
    }
}
