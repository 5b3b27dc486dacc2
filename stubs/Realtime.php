<?php

/**
 * IDE stub of the native Realtime class, and its stand-in where the extension is not loaded.
 */

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
 * What a controller calls: tells browsers and other services what happened.
 *
 *     Realtime::broadcast('user.1', 'order.created', ['id' => 7, 'total' => 9.5]);
 *
 * Without the extension broadcast() and broker() throw ExtensionMissingException unless fake() or swap() was called.
 */
final class Realtime
{
    /**
     * Not made: its methods are static.
     */
    private function __construct()
    {
    }

    /**
     * Sets the configuration for this request, usually the array of config/realtime.php. Connects nothing.
     *
     * Lasts until the request ends; calling it again replaces it.
     *
     * @param array<string, mixed> $config `['default_broker' => 'kafka', 'brokers' => ['kafka' => [...]], ...]`
     *
     * @throws ConfigurationException an unknown key (the message names the nearest known one) or a wrong type
     */
    public static function configure(array $config): void
    {
        // Silent on purpose: an application configures itself before a test gets to call fake().
        Support\NativeStub::configure($config);
    }

    /**
     * Sends an event to a channel: encodes, enqueues and returns in microseconds.
     *
     * Inside a consumer's callback, a broadcast equal to the message in hand (channel, event and data) sends nothing
     * and returns that message's id: who listens there has it already.
     *
     * @param string|array<int, string> $channel a channel, or a list: one record for each, all with the same id
     * @param string $event the event's name, as pusher-js and laravel-echo listen for it
     * @param mixed $data anything json_encode() takes; encoded as it does with its default flags; null: no data
     * @param string|null $key the record key; null: the channel, which so keeps its order
     * @param array<string, string> $headers record headers
     * @param string|null $except socket id of the browser to leave out (Pusher's `socket_id`, Echo's `X-Socket-ID`)
     *
     * @return string the message id (UUIDv7: unique, sortable by time)
     *
     * @throws InvalidChannelException a channel that is empty, unprintable, or too long for a topic; an empty list
     * @throws EncodingException invalid UTF-8, NAN, INF, recursion, a resource, more than 512 levels: nothing is sent
     * @throws MessageTooLargeException larger than `message.max.bytes`
     * @throws QueueFullException the queue stayed full for `queue_full_ms` (100)
     * @throws UnknownTopicException the topic does not exist and may not be created
     * @throws HopLimitException sent on from consumer to consumer more than `max_hops` (8) times
     * @throws ConfigurationException an impossible configuration
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
     * The broker of that name, the same object each time within a request.
     *
     * @param string|null $name a key of `realtime.brokers`; null: `realtime.default_broker`
     *
     * @throws ConfigurationException an unknown name
     */
    public static function broker(?string $name = null): Broker
    {
        return new Broker();
    }

    /**
     * Waits until Kafka has acknowledged everything this process sent. Called by itself at the end of a request.
     *
     * @param int $timeoutMs the longest wait, in ms
     *
     * @throws DeliveryException something was not delivered (getFailed() lists it) or not in time
     */
    public static function flush(int $timeoutMs = 10000): void
    {
        // Nothing was ever accepted here, so nothing can be undelivered.
    }

    /**
     * What this process has sent so far, over all its brokers.
     *
     * `queued` waits in memory, `spooled` and `spool_bytes` wait on disk, `loop_dropped` counts broadcasts equal to the
     * record in hand, `clients` are the Kafka clients of this process; `failures_by_kind` says what `delivery_failures`
     * were (kind => count), `queue_full` counts messages that were refused.
     *
     * @return array{messages_produced: int, bytes_produced: int, messages_delivered: int, delivery_failures: int,
     *     failures_by_kind: array<string, int>, queue_full: int, queued: int, spooled: int, spool_messages: int,
     *     spool_bytes: int, loop_dropped: int, clients: int, broker_reachable: bool, fake: bool, last_error: string|null}
     */
    public static function stats(): array
    {
        return Support\NativeStub::stats();
    }

    /**
     * Says something in the log of the extension: the logger of `realtime.logger`, standard error, or PHP's error log.
     *
     * Passwords are taken out, `log_level` decides whether it is written, and a line that was said within the last minute is
     * counted instead of said again.
     *
     *  string $level a level of PSR-3: emergency, alert, critical, error, warning, notice, info, debug
     *  string $message what happened
     *
     *  ConfigurationException no such level
     */
    public static function log(string $level, string $message): void
    {
        Support\NativeStub::log($level, $message);
    }

    /**
     * Replaces sending by recording, for a test, until restore().
     *
     *     $fake = Realtime::fake();
     *     (new Checkout())->pay();
     *     $fake->assertBroadcast('user.1', 'order.paid');
     *
     * @param Contract\Publisher|null $fake a RealtimeFake to use; any other publisher is wrapped in one, which records
     *        and passes on; null: a new one
     */
    public static function fake(?Contract\Publisher $fake = null): Testing\RealtimeFake
    {
        $fake = $fake instanceof Testing\RealtimeFake ? $fake : new Testing\RealtimeFake($fake);
        Support\NativeStub::swap($fake);

        return $fake;
    }

    /**
     * Sends everything broadcast from now on through that publisher instead, until restore().
     */
    public static function swap(Contract\Publisher $publisher): void
    {
        Support\NativeStub::swap($publisher);
    }

    /**
     * Ends fake() and swap(): broadcasts go to Kafka again. Harmless when neither is on.
     */
    public static function restore(): void
    {
        Support\NativeStub::swap(null);
    }
}
