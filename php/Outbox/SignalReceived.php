<?php

declare(strict_types=1);

namespace Toporia\Realtime\Outbox;

use Toporia\Realtime\Support\StopFlag;
use Toporia\Realtime\Worker\StopCondition;

/**
 * Stops a relay on SIGTERM and SIGINT, after the current batch. Without the pcntl extension a signal ends the process
 * immediately: nothing is lost, but the current batch is sent again.
 */
final class SignalReceived implements StopCondition
{
    private bool $received = false;
    private ?StopFlag $flag = null;

    /**
     * Installs the signal handlers.
     */
    public function listen(): void
    {
        $this->flag ??= new StopFlag();
    }

    /**
     * Restores the previous signal handlers.
     */
    public function end(): void
    {
        $this->received = $this->reason() !== null;
        $this->flag?->release();
        $this->flag = null;
    }

    public function reason(): ?string
    {
        return $this->received || $this->flag?->isSet() === true ? 'signal' : null;
    }
}
