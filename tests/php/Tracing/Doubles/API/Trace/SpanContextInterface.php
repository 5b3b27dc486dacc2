<?php

/**
 * The identity of a span.
 */

declare(strict_types=1);

namespace OpenTelemetry\API\Trace;

interface SpanContextInterface
{
    public function getTraceId(): string;

    public function getSpanId(): string;

    public function isValid(): bool;
}
