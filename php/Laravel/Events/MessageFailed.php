<?php

/**
 * The event after a try to handle a message failed.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Laravel\Events;

use Throwable;
use Toporia\Realtime\Message;

/**
 * Comes for every try; after the last one MessageDeadLettered follows, where there is a dead-letter topic.
 */
final class MessageFailed
{
    /**
     * @param int|null $retryInMs time until the next try, in ms; null: there is none
     */
    public function __construct(
        public readonly Message $message,
        public readonly Throwable $exception,
        public readonly ?int $retryInMs
    ) {
    }
}
