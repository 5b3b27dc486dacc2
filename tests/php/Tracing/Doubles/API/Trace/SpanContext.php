<?php

/**
 * The ids of a span; empty ones are not valid.
 */

declare(strict_types=1);

namespace OpenTelemetry\API\Trace;

final class SpanContext implements SpanContextInterface
{
    public function __construct(private string $traceId, private string $spanId)
    {
    }

    public function getTraceId(): string
    {
        return $this->traceId;
    }

    public function getSpanId(): string
    {
        return $this->spanId;
    }

    public function isValid(): bool
    {
        return $this->traceId !== '' && $this->spanId !== '';
    }
}
