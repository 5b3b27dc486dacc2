<?php

/**
 * What follows messages through an application.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tracing;

use Throwable;
use Toporia\Realtime\Message;

/**
 * OpenTelemetry is one, and a callable of the configuration is made into one. What a tracer throws is logged, and the message
 * goes on without it.
 */
interface Tracer
{
    /**
     * The trace context of here and now, for what is kept and sent later (the outbox, a queue job).
     *
     * @return array<string, string> record headers by name
     */
    public function headers(): array;

    /**
     * A record is about to be sent; sent() follows, before any other record.
     *
     * @return array<string, string> record headers by name; one that the caller has set itself stays as it is
     */
    public function sending(Outgoing $record): array;

    /**
     * The record is queued for Kafka, or not: then $class is the exception's class and $reason its message.
     */
    public function sent(?string $class, ?string $reason): void;

    /**
     * A callback is about to be called; handled() follows. Callbacks may nest, where one consumes from another broker.
     *
     * @param non-empty-list<Message> $messages
     * @param bool $isBatch the callback takes lists, of which this may be one of one message
     * @param string $group the consumer group
     */
    public function handling(array $messages, bool $isBatch, string $group): void;

    /**
     * The callback is done.
     *
     * @param Throwable|null $why what it threw
     */
    public function handled(?Throwable $why): void;
}
