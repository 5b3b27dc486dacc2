<?php

/**
 * Lets a command that watches end at once when it gets SIGINT or SIGTERM, also while Kafka does not answer.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Ops;

use Closure;
use Toporia\Realtime\Support\StopFlag;

/**
 * From its making to release(). Without pcntl signals do what they always do.
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
     * True if a signal came.
     */
    public function isRequested(): bool
    {
        return $this->flag->isSet();
    }

    /**
     * Asks something of Kafka; null where a signal came meanwhile.
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
     * Waits so many seconds, or until a signal comes.
     */
    public function sleep(float $seconds): void
    {
        $until = microtime(true) + $seconds;
        while (!$this->isRequested() && microtime(true) < $until) {
            usleep(50_000);
        }
    }

    /**
     * Puts back what was there before.
     */
    public function release(): void
    {
        $this->flag->release();
    }
}
