<?php

/**
 * Publishes messages of the framework's class through the broker.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Guides\App;

use Toporia\Framework\Console\Command;
use Toporia\Framework\Realtime\Contracts\RealtimeManagerInterface;
use Toporia\Framework\Realtime\Message;

class PublishCommand extends Command
{
    protected string $signature = 'guide:publish {--count=2}';

    public function __construct(private readonly RealtimeManagerInterface $realtime)
    {
        parent::__construct();
    }

    public function handle(): int
    {
        $broker = $this->realtime->broker('kafka');
        for ($id = 1; $id <= (int) $this->option('count', 2); $id++) {
            $broker->publish('orders.events', Message::event('orders.events', 'order.created', ['order_id' => $id]));
        }

        return 0;
    }
}
