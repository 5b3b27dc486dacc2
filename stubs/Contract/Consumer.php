<?php

declare(strict_types=1);

namespace Toporia\Realtime\Contract;

use Throwable;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\ConnectionException;
use Toporia\Realtime\Exception\DeliveryException;
use Toporia\Realtime\Exception\InvalidChannelException;
use Toporia\Realtime\Message;

/**
 * Delivers messages: Broker from Kafka, Testing\RealtimeFake from a test. For constructor injection.
 *
 * Use a broker either with callbacks and consume(), or with poll() and ack(), not both.
 * Each message goes to exactly one callback: an exact subscription before a pattern, among patterns the first one.
 */
interface Consumer
{
    /**
     * Subscribes a callback to a channel. Subscribing the same channel again replaces the callback.
     *
     * @param string $channel `user.1`; `user.*` (any one segment) or `user.**` (any number of them)
     * @param callable(Message): void|null $callback null: the messages are returned by poll()
     *
     * @throws InvalidChannelException invalid channel or pattern
     */
    public function subscribe(string $channel, ?callable $callback = null): static;

    /**
     * Subscribes a callback that receives a list of messages, at most consume()'s $batchSize.
     *
     * A callback reports the failed message by throwing BatchException($index, $previous): the messages before it count
     * as handled. Any other exception counts as a failure of the first message.
     *
     * @param string $channel as for subscribe()
     * @param callable(list<Message>): void $callback
     *
     * @throws InvalidChannelException invalid channel or pattern
     */
    public function subscribeBatch(string $channel, callable $callback): static;

    /**
     * Subscribes a callback to a Kafka topic by its full name: every record is delivered, with or without an envelope.
     *
     * Such a message has type `raw`, no channel, no event, the id `topic-partition-offset` and the bytes of the record
     * in getPayload().
     *
     * @param string $topic a topic, or a pattern as for subscribe()
     * @param callable(Message): void|null $callback null: the messages are returned by poll()
     *
     * @throws InvalidChannelException invalid topic name
     */
    public function subscribeTopic(string $topic, ?callable $callback = null): static;

    /**
     * Removes the subscription to a channel or topic; unknown names are ignored.
     *
     * @param string $channel name or pattern as subscribed
     */
    public function unsubscribe(string $channel): static;

    /**
     * Receives messages and calls the callbacks, until stopConsuming(), SIGTERM, SIGINT, $maxMessages, or
     * $stopWhenEmpty.
     *
     * Delivery is at least once: an offset is committed only after its callback has returned and all messages it sent
     * through this extension were acknowledged. A stop takes effect after the current message.
     *
     * @param int $timeoutMs maximum duration of one poll in ms
     * @param int $batchSize maximum number of records per batch; smaller batches are not delayed
     * @param int $maxMessages stop after this number of messages; 0: no limit
     * @param bool $stopWhenEmpty stop at the end of all assigned partitions
     *
     * @return int number of handled messages
     *
     * @throws ConfigurationException no subscription, or used together with poll()
     * @throws ConnectionException authentication or authorization failed (consume() waits while Kafka is down)
     * @throws Throwable exception of a callback; the offset of the message is not committed
     */
    public function consume(
        int $timeoutMs = 1000,
        int $batchSize = 100,
        int $maxMessages = 0,
        bool $stopWhenEmpty = false
    ): int;

    /**
     * Makes consume() return after the current message. Can be called in a callback.
     */
    public function stopConsuming(): void;

    /**
     * Returns the next message; acknowledge it with ack() or nack().
     *
     * @param int $timeoutMs maximum wait in ms
     *
     * @return Message|null null: no message within the timeout; handlers set with pcntl_signal() run during the wait
     *
     * @throws ConfigurationException no subscription, or used together with callbacks
     * @throws ConnectionException authentication or authorization failed
     */
    public function poll(int $timeoutMs = 1000): ?Message;

    /**
     * Acknowledges a message returned by poll(): commits up to the lowest offset that is not yet acknowledged. If Kafka
     * refuses a message sent since that poll() for good, the acknowledged one becomes a dead letter instead.
     *
     * @throws DeliveryException a message sent before was not delivered, or was refused and `dlq` is off: the offset is
     *         not committed
     */
    public function ack(Message $message): void;

    /**
     * Marks a message returned by poll() as failed: poll() returns it again after its delay, later ones of its key
     * after that; after the last attempt it becomes a dead letter.
     *
     * @param Throwable|null $why the cause, for the log
     */
    public function nack(Message $message, ?Throwable $why = null): void;
}
