<?php

/**
 * The kinds of spans, with the numbers of the API.
 */

declare(strict_types=1);

namespace OpenTelemetry\API\Trace;

interface SpanKind
{
    public const KIND_INTERNAL = 0;
    public const KIND_PRODUCER = 3;
    public const KIND_CONSUMER = 4;
}
