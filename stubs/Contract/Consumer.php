<?php

/**
 * The receiving half of a broker, as an application should ask for it in a constructor.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Contract;

use Throwable;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\ConnectionException;
use Toporia\Realtime\Exception\InvalidChannelException;
use Toporia\Realtime\Message;

/**
 * Whatever can deliver messages: Broker does from Kafka, Testing\RealtimeFake from what a test lets it receive.
 *
 * A broker is used in one of two ways, never both: with callbacks and consume(), or with poll() and ack().
 * Exactly one callback gets a message: the exact subscription before a pattern, among patterns the first subscribed.
 */
interface Consumer
{
    /**
     * Subscribes a callback to a channel. Subscribing the same channel again replaces the callback.
     *
     * @param string $channel `user.1`; `user.*` (any one segment) or `user.**` (any number of them)
     * @param callable(Message): void|null $callback null: the messages are for poll()
     *
     * @throws InvalidChannelException an impossible channel or pattern
     */
    public function subscribe(string $channel, ?callable $callback = null): static;

    /**
     * Subscribes a callback that gets a list of messages at once, at most consume()'s $batchSize.
     *
     * A callback that fails says which message did by throwing BatchException($index, $previous): those before it
     * count as handled. Any other exception counts as a failure of the first.
     *
     * @param string $channel as for subscribe()
     * @param callable(list<Message>): void $callback
     *
     * @throws InvalidChannelException an impossible channel or pattern
     */
    public function subscribeBatch(string $channel, callable $callback): static;

    /**
     * Subscribes a callback to a Kafka topic by its full name: every record is delivered, envelope or not.
     *
     * Such a message has type `raw`, no channel, no event, the id `topic-partition-offset` and the record's bytes in
     * getPayload().
     *
     * @param string $topic a topic, or a pattern as for subscribe()
     * @param callable(Message): void|null $callback null: the messages are for poll()
     *
     * @throws InvalidChannelException an impossible topic name
     */
    public function subscribeTopic(string $topic, ?callable $callback = null): static;

    /**
     * Ends a subscription to a channel or a topic; unknown names are ignored.
     *
     * @param string $channel the name or pattern as it was subscribed
     */
    public function unsubscribe(string $channel): static;

    /**
     * Receives and hands to the callbacks, until stopConsuming(), SIGTERM or SIGINT, $maxMessages, or the end.
     *
     * Delivery is at least once: an offset is committed only after its callback returned and everything it sent
     * through us was acknowledged. A stop takes effect after the message in hand.
     *
     * @param int $timeoutMs the longest one poll waits, in ms
     * @param int $batchSize the most records taken at once; a maximum, never waited for
     * @param int $maxMessages stop after so many; 0: no limit
     * @param bool $stopWhenEmpty stop when every assigned partition is at its end
     *
     * @return int how many messages were handled
     *
     * @throws ConfigurationException without any subscription, or mixed with poll()
     * @throws ConnectionException authentication or authorization refused (Kafka being down is waited for)
     * @throws Throwable what a callback threw; the message's offset stays uncommitted
     */
    public function consume(
        int $timeoutMs = 1000,
        int $batchSize = 100,
        int $maxMessages = 0,
        bool $stopWhenEmpty = false
    ): int;

    /**
     * Asks consume() to return after the message in hand. Callable from a callback.
     */
    public function stopConsuming(): void;

    /**
     * Gets the next message, pull style: acknowledge it with ack() or nack().
     *
     * @param int $timeoutMs how long to wait, in ms
     *
     * @return Message|null null: nothing came in time; handlers set with pcntl_signal() run while it waits
     *
     * @throws ConfigurationException without any subscription, or mixed with callbacks
     * @throws ConnectionException authentication or authorization refused
     */
    public function poll(int $timeoutMs = 1000): ?Message;

    /**
     * Says that a message from poll() is done: commits up to the lowest offset not yet acknowledged.
     */
    public function ack(Message $message): void;

    /**
     * Says that a message from poll() failed.
     *
     * @param Throwable|null $why the reason, for logs
     */
    public function nack(Message $message, ?Throwable $why = null): void;
}
