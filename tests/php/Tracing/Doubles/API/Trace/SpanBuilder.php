<?php

/**
 * Starts a span in the current context, or in the given one.
 */

declare(strict_types=1);

namespace OpenTelemetry\API\Trace;

use OpenTelemetry\API\Globals;
use OpenTelemetry\Context\Context;
use OpenTelemetry\Context\ContextInterface;

final class SpanBuilder implements SpanBuilderInterface
{
    private ContextInterface|false|null $parent = null;
    /** @var list<array{string, array<string, mixed>}> */
    private array $links = [];
    /** @var array<string, mixed> */
    private array $attributes = [];
    private int $kind = SpanKind::KIND_INTERNAL;

    public function __construct(private string $name)
    {
    }

    public function setParent(ContextInterface|false|null $context): SpanBuilderInterface
    {
        $this->parent = $context;

        return $this;
    }

    public function addLink(SpanContextInterface $context, iterable $attributes = []): SpanBuilderInterface
    {
        $this->links[] = [$context->getSpanId(), [...$attributes]];

        return $this;
    }

    public function setAttribute(string $key, mixed $value): SpanBuilderInterface
    {
        return $this->setAttributes([$key => $value]);
    }

    public function setAttributes(iterable $attributes): SpanBuilderInterface
    {
        $this->attributes = [...$this->attributes, ...$attributes];

        return $this;
    }

    public function setSpanKind(int $spanKind): SpanBuilderInterface
    {
        $this->kind = $spanKind;

        return $this;
    }

    public function startSpan(): SpanInterface
    {
        $context = $this->parent === false ? Context::getRoot() : $this->parent ?? Context::getCurrent();
        $parent = Span::fromContext($context)->getContext();
        $trace = $parent->isValid() ? $parent->getTraceId() : bin2hex(random_bytes(16));
        $span = new Span(new SpanContext($trace, bin2hex(random_bytes(8))));
        $span->record = ['name' => $this->name, 'kind' => $this->kind, 'attributes' => $this->attributes,
            'links' => $this->links, 'parent' => $parent->isValid() ? $parent->getSpanId() : null,
            'trace' => $trace, 'span' => $span->getContext()->getSpanId(), 'status' => StatusCode::STATUS_UNSET,
            'ended' => 0];

        return Globals::$spans[] = $span;
    }
}
