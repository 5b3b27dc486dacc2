<?php

/**
 * Logs failures with the message as an array, and continues.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Guides\App;

use Throwable;
use Toporia\Framework\Console\Command;
use Toporia\Framework\Realtime\Contracts\RealtimeManagerInterface;

class LoggingConsumer extends Command
{
    protected string $signature = 'guide:logging';

    public function __construct(private readonly RealtimeManagerInterface $realtime)
    {
        parent::__construct();
    }

    public function handle(): int
    {
        $broker = $this->realtime->broker('kafka');
        $processed = 0;
        $broker->subscribe('test', function ($message) use (&$processed) {
            try {
                $this->line('order ' . $message->getData()['order_id'] / $message->getData()['parts']);
                $processed++;
            } catch (Throwable $e) {
                logger()->error('Message processing failed', [
                    'channel' => 'test',
                    'error' => $e->getMessage(),
                    'message' => $message->toArray(),
                ]);
            }
            logger()->info('Consumer stats', ['processed' => $processed]);
        });
        $broker->consume(1000, 100);

        return 0;
    }
}
