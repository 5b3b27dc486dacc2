<?php

declare(strict_types=1);

namespace Toporia\Realtime\Laravel;

use Closure;
use Psr\Log\LoggerInterface;
use Throwable;
use Toporia\Realtime\Exception\DeliveryException;
use Toporia\Realtime\Laravel\Events\MessageDeadLettered;
use Toporia\Realtime\Laravel\Events\MessageFailed;
use Toporia\Realtime\Message;

/** Writes to the application's log. Uses the channel of `realtime.log`; the logger is created on first use. */
final class Log
{
    /** @param (Closure(): LoggerInterface)|null $logger null: nothing is logged */
    public function __construct(private ?Closure $logger)
    {
    }

    /** Logs a failed attempt that will be retried, or after which the worker stops. */
    public function failed(MessageFailed $event): void
    {
        $next = $event->retryInMs === null ? 'not tried again' : "tried again in $event->retryInMs ms";
        $this->write('warning', "A message failed (attempt {$event->message->getAttempt()}, $next): "
            . $event->exception->getMessage(), $this->context($event->message, $event->exception));
    }

    public function deadLettered(MessageDeadLettered $event): void
    {
        $this->write('error', "A message was given up after attempt {$event->message->getAttempt()} and is in the "
            . 'dead-letter topic (php artisan realtime:dlq:list): ' . $event->exception->getMessage(), $this->context(
                $event->message,
                $event->exception
            ));
    }

    public function undelivered(DeliveryException $e): void
    {
        $this->write('error', 'Kafka has not acknowledged everything: ' . $e->getMessage(), [
            'failed' => array_slice($e->getFailed(), 0, 20),
        ]);
    }

    /** @return array<string, mixed> */
    private function context(Message $message, Throwable $e): array
    {
        return [
            'id' => $message->getId(),
            'channel' => $message->getChannel(),
            'event' => $message->getEvent(),
            'topic' => $message->getTopic(),
            'partition' => $message->getPartition(),
            'offset' => $message->getOffset(),
            'exception' => $e,
        ];
    }

    /** @param array<string, mixed> $context */
    public function write(string $level, string $text, array $context): void
    {
        if ($this->logger === null) {
            return;
        }
        try {
            ($this->logger)()->log($level, $text, $context);
        } catch (Throwable $e) {
            // A log that cannot be written must not stop a worker, but must not go unnoticed either.
            error_log("toporia_realtime: $text (and the log channel failed: {$e->getMessage()})");
        }
    }
}
