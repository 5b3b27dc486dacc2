<?php

/**
 * A slow handler, for the test that it does not delay sockets; one event makes it end the process with a fatal error.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Browser;

use Toporia\Realtime\Message;

final class SlowHandler
{
    public function handle(Message $message): void
    {
        echo "handling {$message->getData()['n']}\n";
        sleep(3);
        echo "handled {$message->getData()['n']}\n";
        if ($message->getEvent() === 'slow.fatal') {
            trigger_error('Fatal error raised by the handler.', E_USER_ERROR);
        }
    }
}
