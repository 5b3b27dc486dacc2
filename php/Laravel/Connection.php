<?php

declare(strict_types=1);

namespace Toporia\Realtime\Laravel;

use Toporia\Realtime\Broker;
use Toporia\Realtime\Exception\DeliveryException;
use Toporia\Realtime\Exception\RealtimeException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;

/**
 * Sends the broadcasts of one `broadcasting.connections.*` entry to Kafka. An entry without settings of its own uses
 * the default broker of config/realtime.php:
 *
 *     'kafka' => ['driver' => 'kafka'],
 *     'reports' => ['driver' => 'kafka', 'brokers' => 'kafka-2:9092', 'topic_prefix' => 'reports'],
 *     'orders' => ['driver' => 'kafka', 'broker' => 'orders'],          // an entry of realtime.brokers
 *
 * `ack_timeout_ms` (10000) limits how long a queue job waits for Kafka; `app_id`, `key` and `secret` override those of
 * `realtime.gateway`.
 */
final class Connection
{
    private const GATEWAY = ['app_id', 'key', 'secret', 'secrets'];
    private const OTHERS = ['driver', 'name', 'options', 'ack_timeout_ms'];
    private const ACK_TIMEOUT_MS = 10000;

    private ?Broker $broker = null;

    /** @param array<string, mixed> $config the connection's entry */
    public function __construct(private array $config)
    {
    }

    /**
     * Sends an event.
     *
     * @param non-empty-list<string> $channels
     * @param array<string, scalar|list<scalar|null>|null> $headers
     * @param string|null $except socket id to exclude
     *
     * @return list<string> the message ids
     *
     * @throws RealtimeException see Realtime::broadcast()
     */
    public function send(array $channels, string $event, mixed $data, array $headers, ?string $except): array
    {
        $own = array_diff_key($this->config, array_flip([...self::GATEWAY, ...self::OTHERS]));
        if ($own === []) {
            return [Realtime::broadcast($channels, $event, $data, null, $headers, $except)];
        }
        $this->broker ??= new Broker($own);
        if ($except !== null) {
            $headers['x-realtime-socket'] = $except;
        }
        // Build all messages first: if the data cannot be encoded, nothing is sent.
        $messages = array_map(
            static fn (string $channel): Message => Message::event($channel, $event, $data),
            $channels
        );

        return array_map(
            fn (Message $message): string => $this->broker->publish(
                (string) $message->getChannel(),
                $message,
                null,
                $headers
            ),
            $messages
        );
    }

    /**
     * Waits until Kafka has acknowledged these messages.
     *
     * @param list<string> $ids
     *
     * @throws DeliveryException not acknowledged within the timeout
     */
    public function confirm(array $ids): void
    {
        try {
            Realtime::flush((int) ($this->config['ack_timeout_ms'] ?? self::ACK_TIMEOUT_MS));
        } catch (DeliveryException $e) {
            $failed = array_column($e->getFailed(), 'id');
            // Failures of other messages are reported to their own senders. A truncated list may hide ours.
            if (array_intersect($ids, $failed) !== [] || count($failed) >= 1000) {
                throw $e;
            }
        }
    }

    /**
     * Credentials for signing, where they differ from `realtime.gateway`.
     *
     * @return array<string, mixed>
     */
    public function gateway(): array
    {
        return array_filter(
            array_intersect_key($this->config, array_flip(self::GATEWAY)),
            static fn (mixed $value): bool => $value !== null && $value !== '' && $value !== []
        );
    }
}
