<?php

declare(strict_types=1);

namespace Toporia\Realtime\Tracing;

/** A record about to be sent, as passed to a tracer. */
final class Outgoing
{
    /**
     * @param string $topic the Kafka topic
     * @param int|null $partition null: chosen by the key
     * @param string $id the message id
     * @param string|null $key the record key
     * @param int|null $size size of the value in bytes; null: a tombstone
     * @param array<string, string> $headers trace headers set by the caller; sent unchanged
     */
    public function __construct(
        public readonly string $topic,
        public readonly ?int $partition,
        public readonly string $id,
        public readonly ?string $key,
        public readonly ?int $size,
        public readonly array $headers = []
    ) {
    }
}
