<?php

/**
 * An invalid handler: its handle() is private.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Worker;

use Toporia\Realtime\Message;

final class HandlerWithPrivateHandle
{
    public function __invoke(Message $message): void
    {
        $this->handle($message);
    }

    private function handle(Message $message): void
    {
    }
}
