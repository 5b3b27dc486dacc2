<?php

/**
 * Broadcasts inside try/catch, in case Kafka is down.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Guides\App;

use Throwable;
use Toporia\Framework\Console\Command;
use Toporia\Framework\Realtime\Contracts\RealtimeManagerInterface;

class CarefulCommand extends Command
{
    protected string $signature = 'guide:careful';

    public function __construct(private readonly RealtimeManagerInterface $realtime)
    {
        parent::__construct();
    }

    public function handle(): int
    {
        $start = microtime(true);
        try {
            $this->realtime->broadcast('user.1', 'notification', ['title' => 'Hello']);
            $this->line('saved');
        } catch (Throwable $e) {
            $this->line('caught ' . $e::class);
        }
        $this->line(sprintf('after %d ms', (microtime(true) - $start) * 1000));

        return 0;
    }
}
