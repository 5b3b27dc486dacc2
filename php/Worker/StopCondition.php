<?php

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

/**
 * A reason for a worker to stop by itself. Evaluated several times per second, between two records; the current record
 * is always finished.
 */
interface StopCondition
{
    /**
     * The reason as shown in the summary (`max_time`); null: continue.
     */
    public function reason(): ?string;
}
