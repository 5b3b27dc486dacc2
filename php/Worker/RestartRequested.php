<?php

/**
 * Stops a worker when realtime:restart was called after it started.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

/**
 * Compares the mark with the one found at the start, not with a clock: clocks of two machines differ.
 */
final class RestartRequested implements StopCondition
{
    private ?string $atStart;

    public function __construct(private RestartSignal $signal)
    {
        $this->atStart = $signal->current();
    }

    public function reason(): ?string
    {
        $now = $this->signal->current();

        return $now !== null && $now !== $this->atStart ? 'restart' : null;
    }
}
