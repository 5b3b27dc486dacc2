<?php

/**
 * Lets a command end between two steps when it gets SIGINT or SIGTERM.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Support;

use Closure;

/**
 * From its making to release(); a second signal does not end the process either. Without pcntl signals do what they
 * always do.
 */
final class StopFlag
{
    private bool $set = false;
    private bool $async = false;
    /** @var array<int, callable|int> what was there before, by signal */
    private array $before = [];

    /**
     * @param (Closure(): void)|null $then called with each signal, after the flag is set; what it throws ends what runs
     */
    public function __construct(?Closure $then = null)
    {
        if (!function_exists('pcntl_signal')) {
            return;
        }
        $this->async = pcntl_async_signals(true);
        foreach ([SIGINT, SIGTERM] as $signal) {
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
     * Whether a signal came.
     */
    public function isSet(): bool
    {
        return $this->set;
    }

    /**
     * Puts back what was there before.
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
