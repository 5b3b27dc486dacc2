<?php

/**
 * Tells whoever watches the process that its loop comes round, each time the loop asks whether to stop.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

use Toporia\Realtime\Metrics;

/**
 * Never stops anything itself.
 */
final class Heartbeat implements StopCondition
{
    public function reason(): ?string
    {
        Metrics::beat();

        return null;
    }
}
