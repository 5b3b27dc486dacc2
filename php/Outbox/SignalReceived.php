<?php

/**
 * Stops a relay on SIGTERM and SIGINT, after the batch in hand.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Outbox;

use Toporia\Realtime\Worker\StopCondition;

/**
 * Without the pcntl extension a signal ends the process at once: then nothing is lost either, but the batch in hand is
 * sent again.
 */
final class SignalReceived implements StopCondition
{
    private bool $received = false;
    /** @var array<int, callable|int> */
    private array $before = [];
    private bool $async = false;

    /**
     * Begins to listen.
     */
    public function listen(): void
    {
        if (!function_exists('pcntl_signal') || $this->before !== []) {
            return;
        }
        $this->async = pcntl_async_signals(true);
        foreach ([SIGTERM, SIGINT] as $signal) {
            $this->before[$signal] = pcntl_signal_get_handler($signal);
            pcntl_signal($signal, function (): void {
                $this->received = true;
            });
        }
    }

    /**
     * Gives the signals back to whoever had them.
     */
    public function end(): void
    {
        foreach ($this->before as $signal => $handler) {
            pcntl_signal($signal, $handler);
        }
        if ($this->before !== []) {
            pcntl_async_signals($this->async);
        }
        $this->before = [];
    }

    public function reason(): ?string
    {
        return $this->received ? 'signal' : null;
    }
}
