<?php

declare(strict_types=1);

namespace Toporia\Realtime\Polyfill;

use Toporia\Framework\Realtime\Contracts\BrokerInterface;
use Toporia\Framework\Realtime\Contracts\RealtimeManagerInterface;
use Toporia\Realtime\Broker;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Toporia\DropIn;
use Toporia\Realtime\Toporia\KafkaBroker;

/**
 * The realtime manager of applications without Toporia: returned by `realtime()`, and injected into constructors. Wraps
 * Realtime::broadcast(), and brokers with the framework's methods.
 */
final class RealtimeManager implements RealtimeManagerInterface
{
    private static ?self $instance = null;
    /** @var array<string, KafkaBroker> */
    private array $brokers = [];

    /** The manager of this process. */
    public static function instance(): self
    {
        return self::$instance ??= new self();
    }

    /** Like Realtime::broadcast(): never waits for Kafka; while Kafka is down, messages are queued. */
    public function broadcast(string $channel, string $event, mixed $data = null): void
    {
        Realtime::broadcast($channel, $event, $data);
    }

    /** @throws ConfigurationException invalid settings of that broker */
    public function broker(?string $name = null): ?BrokerInterface
    {
        $key = $name ?? '';
        if (isset($this->brokers[$key]) && $this->brokers[$key]->isConnected()) {
            return $this->brokers[$key];
        }
        if (extension_loaded('toporia_realtime') && !self::exists($name)) {
            return null;
        }

        // An `instanceof` check does not autoload the framework's class.
        class_exists(DropIn::REPLACED);

        return $this->brokers[$key] = new KafkaBroker($name === null ? [] : ['broker' => $name], $this);
    }

    private static function exists(?string $name): bool
    {
        try {
            $name === null ? Realtime::broker() : new Broker(['broker' => $name]);

            return true;
        } catch (ConfigurationException $e) {
            // Only an unknown name returns null, as in the framework; invalid settings must be reported.
            if (preg_match('/\A(?:No broker is named|The broker .* is not a Kafka broker)/', $e->getMessage()) === 1) {
                return false;
            }
            throw $e;
        }
    }
}
