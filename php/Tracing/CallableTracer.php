<?php

declare(strict_types=1);

namespace Toporia\Realtime\Tracing;

use Closure;
use Throwable;
use Toporia\Realtime\Message;

/**
 * A tracer based on an application callable that returns the headers to send. It receives the current message, so that
 * messages sent by a callback can join its trace:
 *
 *     'tracing' => static fn (?Message $cause): array => [
 *         'traceparent' => $cause === null ? Trace::current() : Trace::childOf(Tracing::context($cause)),
 *     ],
 */
final class CallableTracer implements Tracer
{
    private Closure $headers;
    /** @var list<Message|null> the current messages, innermost last; null for a batch of several */
    private array $current = [];

    public function __construct(callable $headers)
    {
        $this->headers = Closure::fromCallable($headers);
    }

    public function headers(): array
    {
        return (array) ($this->headers)($this->current === [] ? null : $this->current[count($this->current) - 1]);
    }

    public function sending(Outgoing $record): array
    {
        return $this->headers();
    }

    public function sent(?string $class, ?string $reason): void
    {
    }

    public function handling(array $messages, bool $isBatch, string $group): void
    {
        $this->current[] = count($messages) === 1 ? $messages[0] : null;
    }

    public function handled(?Throwable $why): void
    {
        array_pop($this->current);
    }
}
