<?php

/**
 * One reason for a worker to stop by itself.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

/**
 * Asked a few times a second, between two records; the record in hand is always finished.
 */
interface StopCondition
{
    /**
     * A word for the summary (`max_time`), or null to go on.
     */
    public function reason(): ?string;
}
