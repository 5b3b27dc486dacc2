<?php

/**
 * IDE stub of the native DeliveryException, and its stand-in where the extension is not loaded.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Exception;

use RuntimeException;

/**
 * Messages that Kafka did not take, or not in time.
 */
class DeliveryException extends RuntimeException implements RealtimeException
{
    /** @var list<array{id: string, topic: string, reason: string}> */
    private array $failed = [];

    /**
     * The messages that were not delivered.
     *
     * @return list<array{id: string, topic: string, reason: string}>
     */
    public function getFailed(): array
    {
        return $this->failed;
    }
}
