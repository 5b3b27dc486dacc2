<?php

declare(strict_types=1);

namespace Toporia\Realtime\Laravel\Events;

use Throwable;
use Toporia\Realtime\Message;

/**
 * Dispatched after an attempt to handle a message failed. Dispatched for every failed attempt; the last one is followed
 * by MessageDeadLettered, if dead letters are enabled.
 */
final class MessageFailed
{
    /** @param int|null $retryInMs time until the next attempt, in ms; null: the message is given up */
    public function __construct(
        public readonly Message $message,
        public readonly Throwable $exception,
        public readonly ?int $retryInMs
    ) {
    }
}
