<?php

/**
 * A span that is running or ended.
 */

declare(strict_types=1);

namespace OpenTelemetry\API\Trace;

use OpenTelemetry\Context\ContextInterface;
use Throwable;

interface SpanInterface
{
    public static function fromContext(ContextInterface $context): SpanInterface;

    public function getContext(): SpanContextInterface;

    public function storeInContext(ContextInterface $context): ContextInterface;

    public function setAttribute(string $key, bool|int|float|string|array|null $value): SpanInterface;

    /** @param iterable<string, mixed> $attributes */
    public function recordException(Throwable $exception, iterable $attributes = []): SpanInterface;

    public function setStatus(string $code, ?string $description = null): SpanInterface;

    public function end(?int $endEpochNanos = null): void;
}
