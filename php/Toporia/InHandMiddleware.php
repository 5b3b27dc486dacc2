<?php

/**
 * Marks the message in hand around the handlers of realtime:kafka:consume.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia;

use Toporia\Realtime\Message;

/**
 * The first of the application's middleware in Toporia, so that its manager does not publish what a handler
 * broadcasts again.
 */
final class InHandMiddleware
{
    /**
     * @param callable(Message): mixed $next
     */
    public function handle(Message $message, callable $next): void
    {
        InHand::during($message, $next);
    }
}
