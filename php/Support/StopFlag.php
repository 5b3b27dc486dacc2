<?php

declare(strict_types=1);

namespace Toporia\Realtime\Support;

use Closure;

/**
 * Records SIGINT, SIGTERM and SIGQUIT, so that a command can stop between two steps. Active from construction to
 * release(); a second signal does not end the process either. Without pcntl, signals keep their default action.
 */
final class StopFlag
{
    private bool $set = false;
    private bool $async = false;
    /** @var array<int, callable|int> previous handlers, by signal */
    private array $before = [];

    /**
     * @param (Closure(): void)|null $then called on each signal, after the flag is set; may throw to interrupt
     */
    public function __construct(?Closure $then = null)
    {
        if (!function_exists('pcntl_signal')) {
            return;
        }
        $this->async = pcntl_async_signals(true);
        foreach ([SIGINT, SIGTERM, SIGQUIT] as $signal) {
            $this->before[$signal] = pcntl_signal_get_handler($signal);
            pcntl_signal($signal, function () use ($then): void {
                $this->set = true;
                if ($then !== null) {
                    $then();
                }
            });
        }
    }

    /**
     * True once a signal was received.
     */
    public function isSet(): bool
    {
        return $this->set;
    }

    /**
     * Restores the previous handlers.
     */
    public function release(): void
    {
        foreach ($this->before as $signal => $handler) {
            pcntl_signal($signal, $handler);
        }
        if ($this->before !== []) {
            pcntl_async_signals($this->async);
        }
        $this->before = [];
    }
}
