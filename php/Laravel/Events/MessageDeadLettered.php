<?php

declare(strict_types=1);

namespace Toporia\Realtime\Laravel\Events;

use Throwable;
use Toporia\Realtime\Message;

/**
 * Dispatched when a message is given up and sent to its dead-letter topic. List dead letters with `php artisan
 * realtime:dlq:list`; send them again with `realtime:dlq:replay`.
 */
final class MessageDeadLettered
{
    public function __construct(public readonly Message $message, public readonly Throwable $exception)
    {
    }
}
