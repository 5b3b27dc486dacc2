<?php

/**
 * Baggage entries that propagate with a trace, as one string.
 */

declare(strict_types=1);

namespace OpenTelemetry\API\Baggage;

use OpenTelemetry\Context\ContextInterface;

final class Baggage
{
    public function __construct(public readonly string $text)
    {
    }

    public static function fromContext(ContextInterface $context): self
    {
        return $context->get('baggage') ?? new self('');
    }

    public function storeInContext(ContextInterface $context): ContextInterface
    {
        return $context->with('baggage', $this);
    }
}
