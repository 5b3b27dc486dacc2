<?php

/**
 * A Kafka record as the dead-letter commands need it.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Dlq;

use Toporia\Realtime\Message;

/**
 * What was read, and from where; a plain value, so that everything built on it can be tested without a broker.
 */
final class Record
{
    /**
     * @param string|null $value null: a tombstone, or a dead letter that only holds coordinates
     * @param array<string, string|null> $headers by name; null: a header without a value
     * @param int $timestamp Kafka's timestamp, in Unix seconds
     */
    public function __construct(
        public readonly string $topic,
        public readonly int $partition,
        public readonly int $offset,
        public readonly ?string $key,
        public readonly ?string $value,
        public readonly array $headers,
        public readonly int $timestamp
    ) {
    }

    /**
     * The record behind a message of a raw topic.
     */
    public static function of(Message $message): self
    {
        return new self(
            (string) $message->getTopic(),
            (int) $message->getPartition(),
            (int) $message->getOffset(),
            $message->getKey(),
            $message->getPayload(),
            $message->getHeaders(),
            $message->getTimestamp()
        );
    }

    /**
     * Key, value and headers together, in bytes: what sending it again takes.
     */
    public function bytes(): int
    {
        $bytes = strlen($this->key ?? '') + strlen($this->value ?? '');
        foreach ($this->headers as $name => $value) {
            $bytes += strlen((string) $name) + strlen($value ?? '');
        }

        return $bytes;
    }
}
