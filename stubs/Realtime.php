<?php

declare(strict_types=1);

namespace Toporia\Realtime;

use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\DeliveryException;
use Toporia\Realtime\Exception\EncodingException;
use Toporia\Realtime\Exception\ExtensionMissingException;
use Toporia\Realtime\Exception\HopLimitException;
use Toporia\Realtime\Exception\InvalidChannelException;
use Toporia\Realtime\Exception\MessageTooLargeException;
use Toporia\Realtime\Exception\QueueFullException;
use Toporia\Realtime\Exception\UnknownTopicException;

/**
 * Facade for controllers: sends events to browsers and to other services.
 *
 *     Realtime::broadcast('user.1', 'order.created', ['id' => 7, 'total' => 9.5]);
 *
 * Without the extension broadcast() and broker() throw ExtensionMissingException unless fake() or swap() was called.
 */
final class Realtime
{
    /**
     * Static methods only.
     */
    private function __construct()
    {
    }

    /**
     * Sets the configuration for this request, usually the array in config/realtime.php. Does not connect.
     *
     * Valid until the request ends; a further call replaces it.
     *
     * @param array<string, mixed> $config `['default_broker' => 'kafka', 'brokers' => ['kafka' => [...]], ...]`
     *
     * @throws ConfigurationException an unknown key (the message suggests the most similar one) or a wrong type
     */
    public static function configure(array $config): void
    {
        // Does not throw: an application is configured before a test can call fake().
        Support\NativeStub::configure($config);
    }

    /**
     * Sends an event to a channel: encodes it, adds it to the producer queue and returns within microseconds.
     *
     * In a consumer callback, broadcasting an event equal to the current message (channel, event and data) sends
     * nothing and returns the id of that message: subscribers of the channel have already received it.
     *
     * @param string|array<int, string> $channel a channel, or a list: one record for each, all with the same id
     * @param string $event name of the event, as pusher-js and laravel-echo listen for it
     * @param mixed $data any value json_encode() supports, encoded with its default flags; null: no data
     * @param string|null $key record key; null: the channel, which preserves the order within the channel
     * @param array<string, scalar|list<scalar|null>|null> $headers record headers; a list: several of this name
     * @param string|null $except socket id of the browser to leave out (Pusher's `socket_id`, Echo's `X-Socket-ID`)
     *
     * @return string the message id (UUIDv7: unique, sortable by time)
     *
     * @throws InvalidChannelException a channel that is empty, unprintable, or too long for a topic; an empty list
     * @throws EncodingException invalid UTF-8, NAN, INF, recursion, a resource, more than 512 levels: nothing is sent
     * @throws MessageTooLargeException larger than `message.max.bytes`
     * @throws QueueFullException the producer queue stayed full for `queue_full_ms` (100)
     * @throws UnknownTopicException the topic does not exist and cannot be created
     * @throws HopLimitException forwarded from consumer to consumer more than `max_hops` (8) times
     * @throws ConfigurationException invalid configuration
     */
    public static function broadcast(
        string|array $channel,
        string $event,
        mixed $data = null,
        ?string $key = null,
        array $headers = [],
        ?string $except = null
    ): string {
        return Support\NativeStub::broadcast($channel, $event, $data, $key, $headers, $except);
    }

    /**
     * Returns the broker with this name; the same instance on every call within a request.
     *
     * @param string|null $name a key of `realtime.brokers`; null: `realtime.default_broker`
     *
     * @throws ConfigurationException unknown name
     */
    public static function broker(?string $name = null): Broker
    {
        return new Broker();
    }

    /**
     * Waits until Kafka has acknowledged all messages of this process. Called automatically at the end of a request.
     *
     * @param int $timeoutMs maximum wait in ms
     *
     * @throws DeliveryException a message was not delivered (see getFailed()) or not in time
     */
    public static function flush(int $timeoutMs = 10000): void
    {
        // No message was accepted without the extension, so there is nothing to flush.
        Support\Arguments::atLeast(0, $timeoutMs, 'Realtime::flush(): $timeoutMs');
    }

    /**
     * Returns the counters of all brokers of this process.
     *
     * `queued` messages wait in memory, `spooled` and `spool_bytes` wait on disk, `loop_dropped` counts broadcasts
     * equal to the current message, `clients` are the Kafka clients of this process; `failures_by_kind` splits
     * `delivery_failures` (kind => count), `queue_full` counts rejected messages. `broker_reachable`: a client received a
     * response from a broker within the last 25 s.
     *
     * @return array{messages_produced: int, bytes_produced: int, messages_delivered: int, delivery_failures: int,
     *     failures_by_kind: array<string, int>, queue_full: int, queued: int, spooled: int, spool_messages: int,
     *     spool_bytes: int, loop_dropped: int, clients: int, broker_reachable: bool, fake: bool,
     *     last_error: string|null}
     */
    public static function stats(): array
    {
        return Support\NativeStub::stats();
    }

    /**
     * Writes to the log of the extension: the logger in `realtime.logger`, standard error, or PHP's error log.
     *
     * Passwords are masked, `log_level` is applied, and a line that was already written within the last minute is
     * counted instead of repeated.
     *
     * @param string $level PSR-3 level: emergency, alert, critical, error, warning, notice, info, debug
     * @param string $message log text
     *
     * @throws ConfigurationException unknown level
     */
    public static function log(string $level, string $message): void
    {
        Support\NativeStub::log($level, $message);
    }

    /**
     * Records messages instead of sending them, for a test, until restore().
     *
     *     $fake = Realtime::fake();
     *     (new Checkout())->pay();
     *     $fake->assertBroadcast('user.1', 'order.paid');
     *
     * @param Contract\Publisher|null $fake a RealtimeFake; any other publisher is wrapped in one that records and
     *        forwards; null: a new RealtimeFake
     */
    public static function fake(?Contract\Publisher $fake = null): Testing\RealtimeFake
    {
        $fake = $fake instanceof Testing\RealtimeFake ? $fake : new Testing\RealtimeFake($fake);
        Support\NativeStub::swap($fake);

        return $fake;
    }

    /**
     * Sends all broadcasts through this publisher instead, until restore().
     */
    public static function swap(Contract\Publisher $publisher): void
    {
        Support\NativeStub::swap($publisher);
    }

    /**
     * Ends fake() and swap(): broadcasts go to Kafka again. Does nothing if neither is active.
     */
    public static function restore(): void
    {
        Support\NativeStub::swap(null);
    }
}
