<?php

/**
 * The event when a message was given up and goes to its dead-letter topic.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Laravel\Events;

use Throwable;
use Toporia\Realtime\Message;

/**
 * `php artisan realtime:dlq:list` shows it; `realtime:dlq:replay` sends it again.
 */
final class MessageDeadLettered
{
    public function __construct(public readonly Message $message, public readonly Throwable $exception)
    {
    }
}
