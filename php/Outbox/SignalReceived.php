<?php

/**
 * Stops a relay on SIGTERM and SIGINT, after the batch in hand.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Outbox;

use Toporia\Realtime\Support\StopFlag;
use Toporia\Realtime\Worker\StopCondition;

/**
 * Without the pcntl extension a signal ends the process at once: then nothing is lost either, but the batch in hand is
 * sent again.
 */
final class SignalReceived implements StopCondition
{
    private bool $received = false;
    private ?StopFlag $flag = null;

    /**
     * Begins to listen.
     */
    public function listen(): void
    {
        $this->flag ??= new StopFlag();
    }

    /**
     * Gives the signals back to whoever had them.
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
