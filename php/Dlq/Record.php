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
     * @param array<string, string|null> $headers by name; null: a header without a value
     * @param int $timestamp Kafka's timestamp, in Unix seconds
     * @param array<string, list<string|null>> $repeated all values of headers whose name occurs more than once
     */
    public function __construct(
        public readonly string $topic,
        public readonly int $partition,
        public readonly int $offset,
        public readonly ?string $key,
        public readonly ?string $value,
        public readonly array $headers,
        public readonly int $timestamp,
        public readonly array $repeated = []
    ) {
    }

    /** Creates a record from a message of a raw topic. */
    public static function of(Message $message): self
    {
        $headers = $message->getHeaders();
        $repeated = [];
        foreach (array_keys($headers) as $name) {
            $values = $message->getHeaderValues((string) $name);
            if (count($values) > 1) {
                $repeated[$name] = $values;
            }
        }

        return new self(
            (string) $message->getTopic(),
            (int) $message->getPartition(),
            (int) $message->getOffset(),
            $message->getKey(),
            $message->getPayload(),
            $headers,
            $message->getTimestamp(),
            $repeated
        );
    }

    /**
     * All headers in the format of Broker::send(): a list of values if a name occurs more than once.
     *
     * @return array<string, string|null|list<string|null>>
     */
    public function allHeaders(): array
    {
        return array_replace($this->headers, $this->repeated);
    }

    /** Size of key, value and headers in bytes. */
    public function bytes(): int
    {
        $bytes = strlen($this->key ?? '') + strlen($this->value ?? '');
        foreach ($this->allHeaders() as $name => $values) {
            foreach (is_array($values) ? $values : [$values] as $value) {
                $bytes += strlen((string) $name) + strlen($value ?? '');
            }
        }

        return $bytes;
    }
}
