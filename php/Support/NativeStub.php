<?php

declare(strict_types=1);

namespace Toporia\Realtime\Support;

use Toporia\Realtime\Contract\Consumer;
use Toporia\Realtime\Contract\Publisher;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\ExtensionMissingException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Testing\RealtimeFake;
use Toporia\Realtime\Tracing\Tracing;

/**
 * Shared implementation of the stubs that replace the native classes when the extension is not loaded. Holds the
 * publisher set by Realtime::fake() or swap(). Never used while the extension is loaded.
 */
final class NativeStub
{
    private static ?Publisher $publisher = null;

    public static function swap(?Publisher $publisher): void
    {
        self::$publisher = $publisher;
    }

    /**
     * The publisher to send through.
     *
     * @param string $what the calling method, for the message
     *
     * @throws ExtensionMissingException no fake is set
     */
    public static function publisher(string $what): Publisher
    {
        return self::$publisher ?? throw ExtensionMissing::exception($what);
    }

    /**
     * The consumer to receive from.
     *
     * @param string $what the calling method, for the message
     *
     * @throws ExtensionMissingException no fake is set, or it cannot receive
     */
    public static function consumer(string $what): Consumer
    {
        return self::$publisher instanceof Consumer ? self::$publisher : throw ExtensionMissing::exception($what);
    }

    /**
     * Realtime::broadcast() through the fake.
     *
     * @param string|array<int, string> $channel
     * @param array<string, scalar|list<scalar|null>|null> $headers
     */
    public static function broadcast(
        string|array $channel,
        string $event,
        mixed $data,
        ?string $key,
        array $headers,
        ?string $except
    ): string {
        $publisher = self::publisher('Realtime::broadcast()');
        $channels = Arguments::channels($channel);
        Arguments::event($event);
        if ($event === '') {
            throw new ConfigurationException('Realtime::broadcast(): the event name must not be empty.');
        }
        if ($except !== null) {
            Arguments::socketId($except);
            $headers['x-realtime-socket'] = $except;
        }
        $envelope = ['id' => Uuid::v7(), 'event' => $event, 'data' => $data, 'timestamp' => time()];
        // Build all messages first: if the data cannot be encoded, nothing is sent.
        $messages = array_map(
            static fn (string $name): Message => Message::fromArray(['channel' => $name] + $envelope),
            $channels
        );
        $id = $repeated = null;
        foreach ($messages as $i => $message) {
            $current = $publisher instanceof RealtimeFake ? $publisher->repeatedId($channels[$i], $message) : null;
            if ($current === null) {
                $publisher->publish($channels[$i], $message, $key, $headers);
                $id = $envelope['id'];
            }
            $repeated ??= $current;
        }

        return $id ?? (string) $repeated;
    }

    /**
     * Realtime::configure() without the extension: only tracing applies, because the outbox uses it.
     *
     * @param array<string, mixed> $config
     */
    public static function configure(array $config): void
    {
        Tracing::use($config['tracing'] ?? null);
    }

    /** Realtime::log() without the extension: writes to PHP's error log. */
    public static function log(string $level, string $message): void
    {
        $levels = ['emergency', 'alert', 'critical', 'error', 'warning', 'notice', 'info', 'debug'];
        if (!in_array(strtolower($level), $levels, true)) {
            throw new ConfigurationException(
                "Realtime::log(): \"$level\" is not a log level. Levels: " . implode(', ', $levels) . '.'
            );
        }
        error_log("toporia_realtime.$level: $message");
    }

    /**
     * Broker::repeats() through the fake.
     *
     * @throws ExtensionMissingException no fake is set
     */
    public static function repeats(string $channel, Message $message): bool
    {
        $publisher = self::publisher('Broker::repeats()');

        return $publisher instanceof RealtimeFake && $publisher->repeats($channel, $message);
    }

    /** @return array<string, int|bool|string|null> */
    public static function stats(): array
    {
        $counts = [
            'messages_produced', 'bytes_produced', 'messages_delivered', 'delivery_failures', 'queue_full', 'queued',
            'spooled', 'spool_messages', 'spool_bytes', 'loop_dropped', 'clients',
        ];

        return array_fill_keys($counts, 0) + [
            'failures_by_kind' => [],
            'broker_reachable' => false,
            'fake' => self::$publisher !== null,
            'last_error' => self::$publisher === null ? ExtensionMissing::exception('Realtime')->getMessage() : null,
        ];
    }

    /** @return array<string, mixed> */
    public static function consumerStats(): array
    {
        self::publisher('Broker::stats()');

        $counts = [
            'messages_consumed', 'bytes_consumed', 'handled', 'failures', 'retries', 'dead_lettered', 'parked',
            'held_back', 'dropped', 'transactions', 'transactions_aborted', 'skipped', 'topic_mismatch', 'commits',
            'commit_failures', 'rebalances', 'callbacks', 'batches', 'poll_age_ms', 'callback_age_ms', 'commit_age_ms',
            'transient_waiting', 'transient_wait_ms',
        ];

        return array_fill_keys($counts, 0) + [
            'delivery' => 'at-least-once',
            'callback_seconds' => 0.0,
            'lag' => -1,
            'assigned' => [],
            'waiting_for' => [],
            'connected' => false,
            'group' => '',
            'member_hash_conflict' => false,
            'stop_reason' => null,
            'open_circuits' => [],
            'last_failure' => null,
            'last_error' => null,
        ];
    }
}
