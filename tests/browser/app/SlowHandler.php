<?php

/**
 * A handler that takes its time, for the test that sockets do not wait for it; or ends the process.
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
            trigger_error('The handler has had enough.', E_USER_ERROR);
        }
    }
}
