<?php

/**
 * What the newer generation's health command asks.
 */

declare(strict_types=1);

namespace Toporia\Framework\Realtime\Contracts;

interface HealthCheckableInterface
{
    public function healthCheck(): HealthCheckResult;

    public function getHealthCheckName(): string;
}
