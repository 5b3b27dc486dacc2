<?php

/**
 * Checks the class of the broker, reads its channels from an option and switches on the event.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Guides\App;

use Toporia\Framework\Console\Command;
use Toporia\Framework\Realtime\Contracts\RealtimeManagerInterface;

class SwitchingConsumer extends Command
{
    protected string $signature = 'guide:switch {--channels=*}';
    protected string $description = 'Does something for each kind of event';

    public function __construct(private readonly RealtimeManagerInterface $realtime)
    {
        parent::__construct();
    }

    public function handle(): int
    {
        $broker = $this->realtime->broker('kafka');
        if (!$broker instanceof \Toporia\Framework\Realtime\Brokers\KafkaBroker) {
            $this->error('Kafka broker not found');

            return 1;
        }
        $channels = $this->option('channels', ['user.1']);
        foreach ($channels as $channel) {
            $broker->subscribe($channel, function ($message) use ($channel) {
                $this->processMessage($channel, $message);
            });
        }
        $this->line('channels: ' . implode(' ', $channels));
        $broker->consume(1000, 100);

        return 0;
    }

    private function processMessage(string $channel, $message): void
    {
        $event = $message->getEvent();
        $data = $message->getData();
        switch ($event) {
            case 'order.created':
                $this->orderCreated($data);
                break;
            case 'user.updated':
                $this->userUpdated($data);
                break;
            default:
                $this->realtime->broadcast($channel, $event, $data);
                $this->line("passed on: {$event}");
        }
    }

    private function orderCreated(array $data): void
    {
        $this->info("Processing order: {$data['order_id']}");
        $this->realtime->broadcast('admin.orders', 'order.created', $data);
    }

    private function userUpdated(array $data): void
    {
        $this->info("User updated: {$data['user_id']}");
        $this->realtime->broadcast("profile.{$data['user_id']}", 'profile.updated', $data);
    }
}
