<?php

/**
 * The method that the newer generation's health command calls.
 */

declare(strict_types=1);

namespace Toporia\Framework\Realtime\Contracts;

interface HealthCheckableInterface
{
    public function healthCheck(): HealthCheckResult;

    public function getHealthCheckName(): string;
}
