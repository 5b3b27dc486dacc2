<?php

declare(strict_types=1);

namespace Toporia\Realtime\Tracing;

use Throwable;
use Toporia\Realtime\Message;

/**
 * Traces messages through an application. Implemented by OpenTelemetry, and by CallableTracer for a configured
 * callable. Exceptions of a tracer are logged; the message is sent or handled regardless.
 */
interface Tracer
{
    /**
     * The current trace context, for messages that are stored and sent later (the outbox, a queue job).
     *
     * @return array<string, string> record headers by name
     */
    public function headers(): array;

    /**
     * Called before a record is sent; sent() follows before the next record.
     *
     * @return array<string, string> record headers by name; headers set by the caller take precedence
     */
    public function sending(Outgoing $record): array;

    /** Called after the record was queued, or failed: then $class and $reason are the exception's class and message. */
    public function sent(?string $class, ?string $reason): void;

    /**
     * Called before a callback runs; handled() follows. Calls may nest if a callback consumes from another broker.
     *
     * @param non-empty-list<Message> $messages
     * @param bool $isBatch true if the callback takes lists (which may have one message)
     * @param string $group the consumer group
     */
    public function handling(array $messages, bool $isBatch, string $group): void;

    /**
     * Called after the callback.
     *
     * @param Throwable|null $why the exception thrown, if any
     */
    public function handled(?Throwable $why): void;
}
