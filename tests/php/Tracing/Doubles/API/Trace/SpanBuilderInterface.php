<?php

/**
 * Attributes of a span before it starts.
 */

declare(strict_types=1);

namespace OpenTelemetry\API\Trace;

use OpenTelemetry\Context\ContextInterface;

interface SpanBuilderInterface
{
    public function setParent(ContextInterface|false|null $context): SpanBuilderInterface;

    /** @param iterable<string, mixed> $attributes */
    public function addLink(SpanContextInterface $context, iterable $attributes = []): SpanBuilderInterface;

    public function setAttribute(string $key, mixed $value): SpanBuilderInterface;

    /** @param iterable<string, mixed> $attributes */
    public function setAttributes(iterable $attributes): SpanBuilderInterface;

    public function setSpanKind(int $spanKind): SpanBuilderInterface;

    public function startSpan(): SpanInterface;
}
