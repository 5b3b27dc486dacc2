<?php

declare(strict_types=1);

namespace Toporia\Realtime\Laravel\Queue;

use DateTimeInterface;
use Illuminate\Bus\Queueable;
use Illuminate\Container\Container as ContainerInstance;
use Illuminate\Contracts\Container\Container;
use Illuminate\Contracts\Queue\ShouldBeEncrypted;
use Illuminate\Contracts\Queue\ShouldQueue;
use Illuminate\Queue\InteractsWithQueue;
use Throwable;
use Toporia\Realtime\Message;
use Toporia\Realtime\Tracing\Tracing;

/**
 * The queue job that passes a message to a handler that implements ShouldQueue. The handler's `$tries`,
 * `$maxExceptions`, `$backoff` or `backoff()`, `retryUntil()`, `$timeout`, `$afterCommit`, `middleware()` and
 * ShouldBeEncrypted apply to the job. Its failed(Message, Throwable) is called after the last attempt.
 */
final class HandleMessage implements ShouldQueue
{
    use InteractsWithQueue;
    use Queueable;

    public ?int $tries = null;
    public ?int $maxExceptions = null;
    public mixed $backoff = null;
    public ?DateTimeInterface $retryUntil = null;
    public ?int $timeout = null;
    public bool $shouldBeEncrypted = false;

    /** @param class-string $handler */
    private function __construct(private string $handler, private StoredMessage $stored)
    {
    }

    /** @param object $handler an instance whose properties are read; none of its methods with side effects is called */
    public static function for(object $handler, Message $message): self
    {
        $job = new self($handler::class, StoredMessage::of($message));
        $job->tries = $handler->tries ?? null;
        $job->maxExceptions = $handler->maxExceptions ?? null;
        $job->backoff = method_exists($handler, 'backoff') ? $handler->backoff() : $handler->backoff ?? null;
        $job->retryUntil = method_exists($handler, 'retryUntil') ? $handler->retryUntil() : null;
        $job->timeout = $handler->timeout ?? null;
        $job->afterCommit = $handler->afterCommit ?? null;
        $job->shouldBeEncrypted = $handler instanceof ShouldBeEncrypted;
        $job->through(method_exists($handler, 'middleware') ? $handler->middleware() : $handler->middleware ?? []);

        return $job;
    }

    public function handle(Container $container): void
    {
        $handler = $container->make($this->handler);
        if ($this->job !== null && method_exists($handler, 'setJob')) {
            $handler->setJob($this->job);
        }
        $message = $this->stored->message();
        Tracing::handle($message, static fn (): mixed => $handler->handle($message));
    }

    public function failed(Throwable $e): void
    {
        $handler = ContainerInstance::getInstance()->make($this->handler);
        if (method_exists($handler, 'failed')) {
            $handler->failed($this->stored->message(), $e);
        }
    }

    /** The name shown by Horizon and the queue's output. */
    public function displayName(): string
    {
        return $this->handler;
    }
}
