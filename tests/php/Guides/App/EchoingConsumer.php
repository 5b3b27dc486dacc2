<?php

/**
 * Broadcasts every message again, unchanged, from its own callback.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Guides\App;

use Toporia\Framework\Console\Command;
use Toporia\Framework\Realtime\Contracts\RealtimeManagerInterface;

class EchoingConsumer extends Command
{
    protected string $signature = 'guide:echo';

    public function __construct(private readonly RealtimeManagerInterface $realtime)
    {
        parent::__construct();
    }

    public function handle(): int
    {
        $broker = $this->realtime->broker('kafka');
        $broker->subscribe('test', function ($message) use ($broker) {
            $this->realtime->broadcast($message->getChannel(), $message->getEvent(), $message->getData());
            broadcast($message->getChannel(), $message->getEvent(), $message->getData());
            $broker->publish($message->getChannel(), $message);
            $this->line("echoed {$message->getEvent()}");
        });
        $broker->consume(1000, 100);

        return 0;
    }
}
