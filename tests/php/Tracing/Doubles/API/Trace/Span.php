<?php

/**
 * A span that records its calls.
 */

declare(strict_types=1);

namespace OpenTelemetry\API\Trace;

use OpenTelemetry\Context\ContextInterface;
use Throwable;

final class Span implements SpanInterface
{
    /** @var array<string, mixed> */
    public array $record = [];

    public function __construct(private SpanContextInterface $context)
    {
    }

    public static function fromContext(ContextInterface $context): SpanInterface
    {
        return $context->get('span') ?? new self(new SpanContext('', ''));
    }

    public function getContext(): SpanContextInterface
    {
        return $this->context;
    }

    public function storeInContext(ContextInterface $context): ContextInterface
    {
        return $context->with('span', $this);
    }

    public function setAttribute(string $key, bool|int|float|string|array|null $value): SpanInterface
    {
        $this->record['attributes'][$key] = $value;

        return $this;
    }

    public function recordException(Throwable $exception, iterable $attributes = []): SpanInterface
    {
        $this->record['exception'] = $exception->getMessage();

        return $this;
    }

    public function setStatus(string $code, ?string $description = null): SpanInterface
    {
        $this->record['status'] = $code;

        return $this;
    }

    public function end(?int $endEpochNanos = null): void
    {
        $this->record['ended']++;
    }
}
