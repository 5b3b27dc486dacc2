<?php

/**
 * Propagates W3C trace context and baggage.
 */

declare(strict_types=1);

namespace OpenTelemetry\Context\Propagation;

use OpenTelemetry\API\Baggage\Baggage;
use OpenTelemetry\API\Trace\Span;
use OpenTelemetry\API\Trace\SpanContext;
use OpenTelemetry\Context\Context;
use OpenTelemetry\Context\ContextInterface;

final class Propagator
{
    public function inject(mixed &$carrier, mixed $setter = null, ?ContextInterface $context = null): void
    {
        $context ??= Context::getCurrent();
        $span = Span::fromContext($context)->getContext();
        if ($span->isValid()) {
            $carrier["traceparent"] = "00-{$span->getTraceId()}-{$span->getSpanId()}-01";
        }
        if (Baggage::fromContext($context)->text !== "") {
            $carrier["baggage"] = Baggage::fromContext($context)->text;
        }
    }

    /** @param array<string, string> $carrier */
    public function extract($carrier, mixed $getter = null, ?ContextInterface $context = null): ContextInterface
    {
        $context ??= Context::getCurrent();
        if (preg_match("/^00-(.{32})-(.{16})-/", $carrier["traceparent"] ?? "", $parts) === 1) {
            $context = (new Span(new SpanContext($parts[1], $parts[2])))->storeInContext($context);
        }
        if (isset($carrier["baggage"])) {
            $context = (new Baggage($carrier["baggage"]))->storeInContext($context);
        }

        return $context;
    }
}
