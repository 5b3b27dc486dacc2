<?php

/**
 * Retries a message several times itself, remembers failures by id, and retries them after consume() returned.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Guides\App;

use RuntimeException;
use Throwable;
use Toporia\Framework\Console\Command;
use Toporia\Framework\Realtime\Contracts\RealtimeManagerInterface;

class ReliableConsumer extends Command
{
    protected string $signature = 'guide:reliable {--channels=*}';
    private int $maxRetries = 3;
    private array $failed = [];
    private bool $down = true;

    public function __construct(private readonly RealtimeManagerInterface $realtime)
    {
        parent::__construct();
    }

    public function handle(): int
    {
        $broker = $this->realtime->broker('kafka');
        foreach ($this->option('channels', ['test']) as $channel) {
            $broker->subscribe($channel, function ($message) use ($channel, $broker) {
                $this->processWithRetry($channel, $message);
                if ($message->getEvent() === 'last') {
                    $broker->stopConsuming();
                }
            });
        }
        $broker->consume(1000, 100);
        $this->retryFailed();

        return $this->failed === [] ? 0 : 1;
    }

    private function processWithRetry(string $channel, $message): void
    {
        for ($retries = 1; $retries <= $this->maxRetries; $retries++) {
            try {
                $this->process($channel, $message);
                unset($this->failed[$message->getId()]);

                return;
            } catch (Throwable $e) {
                if ($retries === $this->maxRetries) {
                    $this->failed[$message->getId()] = compact('channel', 'message');
                    $this->line("Failed after {$this->maxRetries} retries: {$e->getMessage()}");
                }
                usleep(1000 * $retries);
            }
        }
    }

    private function process(string $channel, $message): void
    {
        if ($this->down && $message->getEvent() === 'difficult') {
            throw new RuntimeException('service down');
        }
        $this->realtime->broadcast('done', $message->getEvent(), $message->getData());
    }

    private function retryFailed(): void
    {
        $this->warn('Retrying ' . count($this->failed) . ' failed messages');
        $this->down = false;
        foreach ($this->failed as $failed) {
            $this->processWithRetry($failed['channel'], $failed['message']);
        }
    }
}
