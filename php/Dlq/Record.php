<?php

declare(strict_types=1);

namespace Toporia\Realtime\Dlq;

use Toporia\Realtime\Message;

/**
 * A Kafka record, as used by the dead-letter commands. A plain value object, so that the code based on it can be tested
 * without a broker.
 */
final class Record
{
    /**
     * @param string|null $value null: a tombstone, or a dead letter that only holds coordinates
     * @param array<string, string|null|list<string|null>> $headers by name; null: a header without a value; a list if a
     *        name occurs more than once
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

    /** Creates a record from a message of a raw topic. */
    public static function of(Message $message): self
    {
        return new self(
            (string) $message->getTopic(),
            (int) $message->getPartition(),
            (int) $message->getOffset(),
            $message->getKey(),
            $message->getPayload(),
            Headers::of($message),
            $message->getTimestamp()
        );
    }

    /** The value of a header, the last one if its name occurs more than once; null: no value, or no such header. */
    public function header(string $name): ?string
    {
        $value = $this->headers[$name] ?? null;

        return is_array($value) ? end($value) : $value;
    }

    /** Size of key, value and headers in bytes. */
    public function bytes(): int
    {
        $bytes = strlen($this->key ?? '') + strlen($this->value ?? '');
        foreach ($this->headers as $name => $values) {
            foreach (is_array($values) ? $values : [$values] as $value) {
                $bytes += strlen((string) $name) + strlen($value ?? '');
            }
        }

        return $bytes;
    }
}
