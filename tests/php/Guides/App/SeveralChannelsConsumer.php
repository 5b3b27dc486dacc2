<?php

/**
 * Subscribes to several channels with closures over $this and consumes until it is stopped.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Guides\App;

use Toporia\Framework\Console\Command;
use Toporia\Framework\Realtime\Contracts\RealtimeManagerInterface;

class SeveralChannelsConsumer extends Command
{
    protected string $signature = 'guide:several';
    protected string $description = 'Consumes several channels';
    private int $processed = 0;

    public function __construct(private readonly RealtimeManagerInterface $realtime)
    {
        parent::__construct();
    }

    public function handle(): int
    {
        $broker = $this->realtime->broker('kafka');
        if (!$broker) {
            $this->error('Kafka broker not found');

            return 1;
        }
        foreach (['user.1', 'user.2', 'public.announcements'] as $channel) {
            $broker->subscribe($channel, function ($message) use ($channel) {
                $this->handleMessage($channel, $message);
            });
            $this->info("Subscribed to: {$channel}");
        }
        $this->info('Consumer started. Waiting for messages...');
        $broker->consume(1000, 100);
        $this->info("Processed {$this->processed}");

        return 0;
    }

    private function handleMessage(string $channel, $message): void
    {
        $this->processed++;
        $this->info("Received: {$channel} - {$message->getEvent()} - {$message->getData()['title']}");
    }
}
