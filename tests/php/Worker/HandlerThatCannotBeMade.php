<?php

/**
 * A handler with a constructor parameter that a container cannot guess.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Worker;

use Toporia\Realtime\Message;

final class HandlerThatCannotBeMade
{
    public function __construct(public string $dsn)
    {
    }

    public function handle(Message $message): void
    {
    }
}
