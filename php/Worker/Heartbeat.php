<?php

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

use Toporia\Realtime\Metrics;

/**
 * Reports liveness each time the loop evaluates its stop conditions. A stop condition that never stops the worker.
 */
final class Heartbeat implements StopCondition
{
    public function reason(): ?string
    {
        Metrics::beat();

        return null;
    }
}
