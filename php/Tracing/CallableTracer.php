<?php

/**
 * A callable of the application that says which headers to send along.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tracing;

use Closure;
use Throwable;
use Toporia\Realtime\Message;

/**
 * It is given the message in hand, so that what a callback sends can belong to what it was told:
 *
 *     'tracing' => static fn (?Message $cause): array => [
 *         'traceparent' => $cause === null ? Trace::current() : Trace::childOf(Tracing::context($cause)),
 *     ],
 */
final class CallableTracer implements Tracer
{
    private Closure $headers;
    /** @var list<Message|null> the messages in hand, the innermost last; null for a list of several */
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
