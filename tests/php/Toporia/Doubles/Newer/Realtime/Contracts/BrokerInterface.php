<?php

/**
 * The interface of a broker in the newer generation: with batches.
 */

declare(strict_types=1);

namespace Toporia\Framework\Realtime\Contracts;

interface BrokerInterface
{
    public function publish(string $channel, MessageInterface $message): void;

    public function subscribe(string $channel, callable $callback): void;

    public function unsubscribe(string $channel): void;

    public function getSubscriberCount(string $channel): int;

    public function isConnected(): bool;

    public function disconnect(): void;

    public function getName(): string;

    public function publishBatch(array $messages, int $flushTimeoutMs = 10000): array;
}
