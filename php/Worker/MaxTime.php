<?php

/**
 * Stops a worker after so many seconds.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

/**
 * Counted from its making, on a clock that nobody sets.
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
