<?php

declare(strict_types=1);

namespace Toporia\Framework\Realtime\Contracts;

/**
 * Polyfill of the framework's broker contract, for code written for Toporia that runs without it. Matches Toporia's
 * newer generation; code that works with it also works with the framework.
 */
interface BrokerInterface
{
    /** Sends a message to a channel. */
    public function publish(string $channel, MessageInterface $message): void;

    /**
     * Registers a callback for the messages of a channel.
     *
     * @param callable(MessageInterface): mixed $callback
     */
    public function subscribe(string $channel, callable $callback): void;

    /** Ends a subscription. */
    public function unsubscribe(string $channel): void;

    /** 1 if this broker has subscribed to the channel, else 0. */
    public function getSubscriberCount(string $channel): int;

    /** True until disconnect() is called. */
    public function isConnected(): bool;

    /** Delivers queued messages and closes the connection. */
    public function disconnect(): void;

    /** The name of the broker type: `kafka`. */
    public function getName(): string;

    /**
     * Sends several messages and waits for their acknowledgements.
     *
     * @param array<int, array{channel: string, message: MessageInterface}> $messages
     * @param int $flushTimeoutMs maximum wait, in ms
     *
     * @return array<string, int|float> `queued`, `failed`, times in ms, `throughput` in messages per second
     */
    public function publishBatch(array $messages, int $flushTimeoutMs = 10000): array;
}
