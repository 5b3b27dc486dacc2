<?php

declare(strict_types=1);

namespace Toporia\Realtime\Exception;

use RuntimeException;

/**
 * Messages that Kafka rejected, or did not acknowledge in time.
 */
class DeliveryException extends RuntimeException implements RealtimeException
{
    /** @var list<array{id: string, topic: string, reason: string}> */
    private array $failed = [];

    /**
     * Returns the messages that were not delivered.
     *
     * @return list<array{id: string, topic: string, reason: string}>
     */
    public function getFailed(): array
    {
        return $this->failed;
    }
}
