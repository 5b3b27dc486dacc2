<?php

/**
 * The newer generation's description of a running consumer.
 */

declare(strict_types=1);

namespace Toporia\Framework\Realtime\Consumer\Contracts;

final class ConsumerContext
{
    public function __construct(
        public readonly string $driver,
        public readonly string $handlerName,
        public readonly string $channel,
        public readonly int $processId,
        public readonly float $startedAt
    ) {
    }
}
