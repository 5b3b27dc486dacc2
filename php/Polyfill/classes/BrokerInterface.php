<?php

/**
 * Stands in for the framework's contract of a broker, for code that was written for Toporia and runs without it.
 */

declare(strict_types=1);

namespace Toporia\Framework\Realtime\Contracts;

/**
 * As Toporia's newer generation has it; what works with this works with the framework's own.
 */
interface BrokerInterface
{
    /**
     * Sends a message to a channel.
     */
    public function publish(string $channel, MessageInterface $message): void;

    /**
     * Calls back with each message of a channel, once consuming.
     *
     * @param callable(MessageInterface): mixed $callback
     */
    public function subscribe(string $channel, callable $callback): void;

    /**
     * Ends a subscription.
     */
    public function unsubscribe(string $channel): void;

    /**
     * 1 where this broker has subscribed the channel, else 0.
     */
    public function getSubscriberCount(string $channel): int;

    /**
     * Whether the broker can be used; false after disconnect().
     */
    public function isConnected(): bool;

    /**
     * Delivers what is waiting and closes.
     */
    public function disconnect(): void;

    /**
     * `kafka`.
     */
    public function getName(): string;

    /**
     * Sends many messages and waits for their acknowledgement.
     *
     * @param array<int, array{channel: string, message: MessageInterface}> $messages
     * @param int $flushTimeoutMs longest wait, in ms
     *
     * @return array<string, int|float> `queued`, `failed`, times in ms, `throughput` in messages a second
     */
    public function publishBatch(array $messages, int $flushTimeoutMs = 10000): array;
}
