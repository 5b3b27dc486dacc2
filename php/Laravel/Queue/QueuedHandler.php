<?php

declare(strict_types=1);

namespace Toporia\Realtime\Laravel\Queue;

use Illuminate\Contracts\Foundation\Application;
use ReflectionClass;
use Toporia\Realtime\Message;

/**
 * Replaces a handler that implements ShouldQueue: pushes the message to Laravel's queue. Supports the options of queued
 * listeners: `$connection`, `$queue`, `$delay`, `viaConnection()`, `viaQueue()`, `shouldQueue()`, and those applied to
 * the job (see HandleMessage). The Kafka offset advances once the job is queued.
 */
final class QueuedHandler
{
    /** @param class-string $handler */
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
        // Only properties are read here; the handler is constructed where the job runs.
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
