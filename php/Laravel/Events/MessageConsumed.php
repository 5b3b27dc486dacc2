<?php

declare(strict_types=1);

namespace Toporia\Realtime\Laravel\Events;

use Toporia\Realtime\Message;

/** Dispatched after a message was handled. For a handler that implements ShouldQueue: after the job was queued. */
final class MessageConsumed
{
    public function __construct(public readonly Message $message)
    {
    }
}
