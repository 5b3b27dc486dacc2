<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

use Closure;
use Toporia\Realtime\Support\StopFlag;

/**
 * Stops a watching command immediately on SIGINT or SIGTERM, even while Kafka does not respond. Active from
 * construction to release(). Without pcntl, signals keep their default action.
 */
final class Interrupt
{
    private StopFlag $flag;
    private bool $interruptible = false;

    public function __construct()
    {
        $this->flag = new StopFlag(function (): void {
            if ($this->interruptible) {
                throw new Interrupted();
            }
        });
    }

    /**
     * True once a signal was received.
     */
    public function isRequested(): bool
    {
        return $this->flag->isSet();
    }

    /**
     * Runs a request to Kafka; null if a signal interrupted it.
     *
     * @template T
     *
     * @param Closure(): T $request
     *
     * @return T|null
     */
    public function run(Closure $request): mixed
    {
        $this->interruptible = true;
        try {
            try {
                return $request();
            } finally {
                $this->interruptible = false;
            }
        } catch (Interrupted) {
            return null;
        }
    }

    /**
     * Sleeps, or returns early on a signal.
     */
    public function sleep(float $seconds): void
    {
        $until = microtime(true) + $seconds;
        while (!$this->isRequested() && microtime(true) < $until) {
            usleep(50_000);
        }
    }

    /**
     * Restores the previous handlers.
     */
    public function release(): void
    {
        $this->flag->release();
    }
}
