<?php

/**
 * Creates tracers; it is its own tracer.
 */

declare(strict_types=1);

namespace OpenTelemetry\API\Trace;

final class TracerProvider
{
    /** @param iterable<string, mixed> $attributes */
    public function getTracer(
        string $name,
        ?string $version = null,
        ?string $schemaUrl = null,
        iterable $attributes = []
    ): self {
        return $this;
    }

    public function spanBuilder(string $spanName): SpanBuilderInterface
    {
        return new SpanBuilder($spanName);
    }
}
