<?php

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

/**
 * Stops a worker if realtime:restart was run after the worker started. Compares file contents instead of times, because
 * the clocks of two machines differ.
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
