<?php

/**
 * A middleware as an application writes it, which logs to the sample handler.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Worker;

use Toporia\Realtime\Message;

final class SampleMiddleware
{
    public function handle(Message $message, callable $next): void
    {
        SampleHandler::$log[] = 'before ' . $message->getEvent();
        $next($message);
        SampleHandler::$log[] = 'after ' . $message->getEvent();
    }
}
