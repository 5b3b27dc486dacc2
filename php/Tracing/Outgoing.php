<?php

/**
 * A record that is about to be sent, as a tracer sees it.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tracing;

final class Outgoing
{
    /**
     * @param string $topic the Kafka topic
     * @param int|null $partition null: the key decides
     * @param string $id the message's id
     * @param string|null $key the record key
     * @param int|null $size of the value in bytes; null: a tombstone
     * @param array<string, string> $headers trace context that the caller has set itself: it is sent as it is
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
