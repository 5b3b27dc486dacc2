<?php

/**
 * Uses the helper functions of the guides, without any constructor.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Guides\App;

use Toporia\Framework\Console\Command;
use Toporia\Framework\Realtime\Message;

final class HelpersCommand extends Command
{
    protected string $signature = 'guide:helpers';

    public function handle(): int
    {
        realtime()->broadcast('public.news', 'announcement', ['title' => 'helpers']);
        broadcast('public.news', 'announcement', ['title' => 'function']);
        $kafka = realtime()->broker('kafka');
        if ($kafka) {
            $kafka->publish('public.news', Message::event('public.news', 'announcement', ['title' => 'broker']));
        }
        $this->line('prefix: ' . config('realtime.brokers.kafka.topic_prefix', env('KAFKA_TOPIC_PREFIX', 'realtime')));
        $this->line('unknown: ' . var_export(realtime()->broker('unknown'), true));

        return self::SUCCESS;
    }
}
