<?php

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

/**
 * Stops a worker after a number of seconds. Counts from construction, on a monotonic clock.
 */
final class MaxTime implements StopCondition
{
    private int $end;

    public function __construct(int $seconds)
    {
        $this->end = (int) hrtime(true) + $seconds * 1_000_000_000;
    }

    public function reason(): ?string
    {
        return hrtime(true) >= $this->end ? 'max_time' : null;
    }
}
