<?php

/**
 * The result of a health check.
 */

declare(strict_types=1);

namespace Toporia\Framework\Realtime\Contracts;

final class HealthCheckResult
{
    public function __construct(public readonly string $status, public readonly string $message, public readonly array $details)
    {
    }

    public static function healthy(string $message = 'OK', array $details = [], float $latencyMs = 0.0): static
    {
        return new static('healthy', $message, $details);
    }

    public static function unhealthy(string $message, array $details = []): static
    {
        return new static('unhealthy', $message, $details);
    }
}
