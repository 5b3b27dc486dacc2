<?php

/**
 * The event after a message was handled.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Laravel\Events;

use Toporia\Realtime\Message;

/**
 * Of a handler that implements ShouldQueue: it is in the queue.
 */
final class MessageConsumed
{
    public function __construct(public readonly Message $message)
    {
    }
}
