<?php

/**
 * IDE stub of the native Broker class, and its stand-in where the extension is not loaded.
 */

declare(strict_types=1);

namespace Toporia\Realtime;

use Throwable;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\ExtensionMissingException;

/**
 * One Kafka as an application sees it: sends, subscribes, consumes.
 *
 *     Realtime::broker()
 *         ->subscribe('user.*', fn (Message $m) => print $m->getEvent() . PHP_EOL)
 *         ->consume();
 *
 * Without the extension the constructor throws ExtensionMissingException; while Realtime::fake() is on, calls go to the
 * fake instead.
 */
final class Broker implements Contract\Publisher, Contract\Consumer
{
    /**
     * Connects nothing: that happens on the first send or consume().
     *
     * @param array<string, mixed> $config merged over the configured broker (`broker` names another than the default
     *        one): `brokers` ('host:port,…' or a list, or 'embedded'), `topic_prefix`, `consumer_group`,
     *        `producer_config`, `consumer_config`, …
     *
     * @throws ConfigurationException an unknown key (the message names the nearest known one) or a wrong type
     * @throws ExtensionMissingException without the extension, unless faked
     */
    public function __construct(array $config = [])
    {
        Support\NativeStub::publisher('Broker');
    }

    /** {@inheritDoc} */
    public function publish(string $channel, Message $message, ?string $key = null, array $headers = []): string
    {
        return Support\NativeStub::publisher('Broker::publish()')->publish($channel, $message, $key, $headers);
    }

    /**
     * True if a callback is running that was given a message of the same channel, event and data: to publish this one
     * would feed the consumer with its own message.
     *
     * publish() sends all the same; Realtime::broadcast() asks by itself. Counted as `loop_dropped` in
     * Realtime::stats() where it is true; always false with `loop_guard` off.
     *
     * @param string $channel the channel it would be published to
     */
    public function repeats(string $channel, Message $message): bool
    {
        return Support\NativeStub::repeats($channel, $message);
    }

    /** {@inheritDoc} */
    public function publishBatch(array $messages, int $flushTimeoutMs = 10000): array
    {
        return Support\NativeStub::publisher('Broker::publishBatch()')->publishBatch($messages, $flushTimeoutMs);
    }

    /** {@inheritDoc} */
    public function send(
        string $topic,
        mixed $value,
        ?string $key = null,
        array $headers = [],
        ?int $partition = null
    ): string {
        return Support\NativeStub::publisher('Broker::send()')->send($topic, $value, $key, $headers, $partition);
    }

    /** {@inheritDoc} */
    public function subscribe(string $channel, ?callable $callback = null): static
    {
        Support\NativeStub::consumer('Broker::subscribe()')->subscribe($channel, $callback);

        return $this;
    }

    /** {@inheritDoc} */
    public function subscribeBatch(string $channel, callable $callback): static
    {
        Support\NativeStub::consumer('Broker::subscribeBatch()')->subscribeBatch($channel, $callback);

        return $this;
    }

    /** {@inheritDoc} */
    public function subscribeTopic(string $topic, ?callable $callback = null): static
    {
        Support\NativeStub::consumer('Broker::subscribeTopic()')->subscribeTopic($topic, $callback);

        return $this;
    }

    /** {@inheritDoc} */
    public function unsubscribe(string $channel): static
    {
        Support\NativeStub::consumer('Broker::unsubscribe()')->unsubscribe($channel);

        return $this;
    }

    /** {@inheritDoc} */
    public function consume(
        int $timeoutMs = 1000,
        int $batchSize = 100,
        int $maxMessages = 0,
        bool $stopWhenEmpty = false
    ): int {
        return Support\NativeStub::consumer('Broker::consume()')
            ->consume($timeoutMs, $batchSize, $maxMessages, $stopWhenEmpty);
    }

    /** {@inheritDoc} */
    public function stopConsuming(): void
    {
        Support\NativeStub::consumer('Broker::stopConsuming()')->stopConsuming();
    }

    /**
     * Calls back when this consumer was given partitions, before their first record: the place for seek().
     *
     * @param callable(list<array{topic: string, partition: int}>): void $callback replaces the one before
     */
    public function onAssigned(callable $callback): static
    {
        return $this;
    }

    /**
     * Calls back when partitions are taken away, before what was handled is committed for the last time.
     *
     * `lost` is true where the group has given them to somebody else already: nothing can be committed any more.
     *
     * @param callable(list<array{topic: string, partition: int, lost: bool}>): void $callback replaces the one before
     */
    public function onRevoked(callable $callback): static
    {
        return $this;
    }

    /**
     * Calls back from within consume(), also while nothing arrives: the place for progress, limits and restart marks.
     *
     * @param callable(Broker): void $callback replaces the one before
     * @param int $everyMs at most once in so many ms; never while a callback runs
     */
    public function onTick(callable $callback, int $everyMs = 1000): static
    {
        return $this;
    }

    /**
     * Calls back after every try that failed, from within consume() or nack().
     *
     * What the callback throws ends consume(), and the record comes again.
     *
     * @param callable(Message, Throwable, int|null): void $callback the message, why, and the time until the next try
     *        in ms; null: given up (a dead letter, or with `dlq` off consume() throws it). Replaces the one before
     */
    public function onFailed(callable $callback): static
    {
        return $this;
    }

    /**
     * Lets the application decide about further tries, instead of `max_retries` and `retry_backoff_ms`.
     *
     * Exceptions that count as permanent are not asked about.
     *
     * @param Contract\RetryStrategy|null $strategy null: as configured
     */
    public function retryWith(?Contract\RetryStrategy $strategy): static
    {
        return $this;
    }

    /**
     * Stops fetching, without giving partitions up.
     *
     * @param string|null $topic null: everything assigned
     * @param int|null $partition null: every assigned partition of the topic
     */
    public function pause(?string $topic = null, ?int $partition = null): static
    {
        return $this;
    }

    /**
     * Fetches again after pause().
     *
     * @param string|null $topic null: everything assigned
     * @param int|null $partition null: every assigned partition of the topic
     */
    public function resume(?string $topic = null, ?int $partition = null): static
    {
        return $this;
    }

    /**
     * Goes on from another position of an assigned partition. Allowed inside onAssigned().
     *
     * @param string $topic the topic's full name
     * @param int|string|\DateTimeInterface $position an offset, 'beginning', 'end', or a time: the first record not
     *        older than that
     *
     * @throws ConfigurationException a partition that is not assigned, or another word
     */
    public function seek(string $topic, int $partition, int|string|\DateTimeInterface $position): static
    {
        return $this;
    }

    /** {@inheritDoc} */
    public function poll(int $timeoutMs = 1000): ?Message
    {
        return Support\NativeStub::consumer('Broker::poll()')->poll($timeoutMs);
    }

    /** {@inheritDoc} */
    public function ack(Message $message): void
    {
        Support\NativeStub::consumer('Broker::ack()')->ack($message);
    }

    /** {@inheritDoc} */
    public function nack(Message $message, ?Throwable $why = null): void
    {
        Support\NativeStub::consumer('Broker::nack()')->nack($message, $why);
    }

    /**
     * What this broker has consumed, and where it stands.
     *
     * `lag` is in records, -1 while unknown; `position` is the next offset; `waiting_for` lists subscribed topics that
     * do not exist yet; `stop_reason` is why the last consume() returned: 'stopped', 'signal', 'max_messages', 'empty'
     * or 'error'; `topic_mismatch` counts records whose channel does not belong to their topic; `parked` records wait
     * for another try or behind one that does; `held_back` partitions are paused because they ran too far ahead of
     * those; `dropped` counts records that at-most-once gave up; `callbacks` took `callback_seconds` together, in
     * `batches` fetched; `poll_age_ms` is since the loop last came round (0: it does not run), `callback_age_ms` how
     * long the callback in hand has been running, `commit_age_ms` since the last commit while something waits for one.
     *
     * @return array{messages_consumed: int, bytes_consumed: int, handled: int, failures: int, retries: int,
     *     dead_lettered: int, parked: int, held_back: int, dropped: int, transactions: int,
     *     transactions_aborted: int, delivery: string, skipped: int, topic_mismatch: int,
     *     commits: int, commit_failures: int, rebalances: int, callbacks: int, callback_seconds: float, batches: int,
     *     poll_age_ms: int, callback_age_ms: int, commit_age_ms: int, lag: int,
     *     assigned: list<array{topic: string, partition: int, position: int, lag: int}>, waiting_for: list<string>,
     *     connected: bool, group: string, member_hash_conflict: bool, stop_reason: string|null,
     *     last_error: string|null}
     */
    public function stats(): array
    {
        return Support\NativeStub::consumerStats();
    }

    /**
     * Leaves the group and closes the connection; what is waiting to be sent is flushed first. Harmless when closed.
     */
    public function close(): void
    {
    }
}
