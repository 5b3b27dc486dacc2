<?php

/**
 * Stands for a handler that implements ShouldQueue: puts the message into Laravel's queue.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Laravel\Queue;

use Illuminate\Contracts\Foundation\Application;
use ReflectionClass;
use Toporia\Realtime\Message;

/**
 * Knows what queued listeners know: `$connection`, `$queue`, `$delay`, `viaConnection()`, `viaQueue()`, `shouldQueue()`,
 * and what the job takes over (see HandleMessage). The offset in Kafka moves on when the job is in the queue.
 */
final class QueuedHandler
{
    /**
     * @param class-string $handler
     */
    public function __construct(private string $handler, private Application $app)
    {
    }

    public function handle(Message $message): void
    {
        if (
            method_exists($this->handler, 'shouldQueue')
            && !$this->app->make($this->handler)->shouldQueue($message)
        ) {
            return;
        }
        // Only its properties are read: it is made where it runs.
        $handler = (new ReflectionClass($this->handler))->newInstanceWithoutConstructor();
        $job = HandleMessage::for($handler, $message);
        $connection = $this->app->make('queue')->connection(
            method_exists($handler, 'viaConnection') ? $handler->viaConnection() : $handler->connection ?? null
        );
        $queue = method_exists($handler, 'viaQueue') ? $handler->viaQueue() : $handler->queue ?? null;
        isset($handler->delay)
            ? $connection->laterOn($queue, $handler->delay, $job)
            : $connection->pushOn($queue, $job);
    }
}
