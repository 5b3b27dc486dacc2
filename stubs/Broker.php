<?php

declare(strict_types=1);

namespace Toporia\Realtime;

use Throwable;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\ExtensionMissingException;

/**
 * Connection to one Kafka cluster: publishes, subscribes, consumes.
 *
 *     Realtime::broker()
 *         ->subscribe('user.*', fn (Message $m) => print $m->getEvent() . PHP_EOL)
 *         ->consume();
 *
 * Without the extension the constructor throws ExtensionMissingException; while Realtime::fake() is active, calls go to
 * the fake.
 */
final class Broker implements Contract\Publisher, Contract\Consumer
{
    use Support\NativeObject;

    /**
     * Does not connect: the first publish or consume() does.
     *
     * @param array<string, mixed> $config merged over the configured broker (`broker` names another than the default
     *        one): `brokers` ('host:port,…' or a list, or 'embedded'), `topic_prefix`, `consumer_group`,
     *        `producer_config`, `consumer_config`, …
     *
     * @throws ConfigurationException an unknown key (the message suggests the most similar one) or a wrong type
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
     * Returns true while a callback handles a message with the same channel, event and data: publishing this message
     * would feed it back to the consumer.
     *
     * publish() sends it anyway; Realtime::broadcast() calls this method itself. Counted as `loop_dropped` in
     * Realtime::stats() if true; always false with `loop_guard` off.
     *
     * @param string $channel the channel to publish to
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
     * Sets the callback for newly assigned partitions, called before their first record: use it for seek().
     *
     * @param callable(list<array{topic: string, partition: int}>): void $callback replaces the previous callback
     */
    public function onAssigned(callable $callback): static
    {
        return $this;
    }

    /**
     * Sets the callback for revoked partitions, called before the final commit of the handled messages.
     *
     * `lost` is true if the group has already assigned them to another member: committing is no longer possible.
     *
     * @param callable(list<array{topic: string, partition: int, lost: bool}>): void $callback replaces the previous
     *        callback
     */
    public function onRevoked(callable $callback): static
    {
        return $this;
    }

    /**
     * Sets a callback that consume() calls regularly, even when no messages arrive: for progress, limits and restart
     * signals.
     *
     * @param callable(Broker): void $callback replaces the previous callback
     * @param int $everyMs minimum interval in ms; not called while a message callback runs
     */
    public function onTick(callable $callback, int $everyMs = 1000): static
    {
        Support\Arguments::atLeast(0, $everyMs, 'Broker::onTick(): $everyMs');

        return $this;
    }

    /**
     * Sets the callback for failed attempts, called within consume() or nack().
     *
     * An exception thrown by the callback ends consume(), and the record is delivered again.
     *
     * @param callable(Message, Throwable, int|null, bool): void $callback the message, the exception, the delay until
     *        the next attempt in ms (null: no further attempt: a dead letter, or an exception of consume() with `dlq`
     *        off), and whether the exception is transient: the place to renew a connection that has died. Replaces the
     *        previous callback
     */
    public function onFailed(callable $callback): static
    {
        return $this;
    }

    /**
     * Lets the application decide about retries, instead of `max_retries` and `retry_backoff_ms`.
     *
     * Not called for permanent exceptions.
     *
     * @param Contract\RetryStrategy|null $strategy null: as configured
     */
    public function retryWith(?Contract\RetryStrategy $strategy): static
    {
        return $this;
    }

    /**
     * Stops fetching but keeps the partitions.
     *
     * @param string|null $topic null: all assigned partitions
     * @param int|null $partition null: all assigned partitions of the topic
     */
    public function pause(?string $topic = null, ?int $partition = null): static
    {
        return $this;
    }

    /**
     * Resumes fetching after pause().
     *
     * @param string|null $topic null: all assigned partitions
     * @param int|null $partition null: all assigned partitions of the topic
     */
    public function resume(?string $topic = null, ?int $partition = null): static
    {
        return $this;
    }

    /**
     * Continues at another position of an assigned partition. Can be called in onAssigned().
     *
     * @param string $topic the topic's full name
     * @param int|string|\DateTimeInterface $position an offset, 'beginning', 'end', or a time: the first record at or
     *        after that time
     *
     * @throws ConfigurationException a partition that is not assigned, or an invalid position
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
     * Returns the counters and the state of this consumer.
     *
     * `lag` is in records, -1 while unknown; `position` is the next offset; `waiting_for` lists subscribed topics that
     * do not exist yet; `stop_reason` is the reason the last consume() returned: 'stopped', 'signal', 'max_messages',
     * 'empty' or 'error'; `topic_mismatch` counts records whose channel does not belong to their topic; `parked`
     * records wait for a retry, or behind a record that does; `held_back` partitions are paused because they are too
     * far ahead of parked records; `transient_waiting` records failed last with a transient exception, the first of
     * them `transient_wait_ms` ago; `open_circuits` names the subscriptions that are paused because their callback
     * fails for every record; `last_failure` is the last exception of a callback; `dropped` counts records lost with
     * at-most-once; `callbacks` took `callback_seconds` in total, in `batches` fetched; `poll_age_ms` is the time since
     * the last poll (0: not running), `callback_age_ms` how long the current callback has been running, `commit_age_ms`
     * the time since the last commit while offsets are waiting to be committed. `connected`: a broker responded within the
     * last 25 s.
     *
     * @return array{messages_consumed: int, bytes_consumed: int, handled: int, failures: int, retries: int,
     *     dead_lettered: int, parked: int, held_back: int, transient_waiting: int, transient_wait_ms: int,
     *     open_circuits: list<string>, dropped: int, transactions: int,
     *     transactions_aborted: int, delivery: string, skipped: int, topic_mismatch: int,
     *     commits: int, commit_failures: int, rebalances: int, callbacks: int, callback_seconds: float, batches: int,
     *     poll_age_ms: int, callback_age_ms: int, commit_age_ms: int, lag: int,
     *     assigned: list<array{topic: string, partition: int, position: int, lag: int}>, waiting_for: list<string>,
     *     connected: bool, group: string, member_hash_conflict: bool, stop_reason: string|null,
     *     last_failure: string|null, last_error: string|null}
     */
    public function stats(): array
    {
        return Support\NativeStub::consumerStats();
    }

    /**
     * Leaves the group and closes the connection; queued messages are flushed first. Does nothing if it is already
     * closed.
     */
    public function close(): void
    {
    }
}
