<?php

/**
 * Lets a command that watches end at once when it gets SIGINT or SIGTERM, also while Kafka does not answer.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Ops;

use Closure;

/**
 * From its making to release(). Without pcntl signals do what they always do.
 */
final class Interrupt
{
    private bool $came = false;
    private bool $asking = false;
    private bool $async = false;
    /** @var array<int, callable|int> what was there before, by signal */
    private array $before = [];

    public function __construct()
    {
        if (!function_exists('pcntl_signal')) {
            return;
        }
        $this->async = pcntl_async_signals(true);
        foreach ([SIGINT, SIGTERM] as $signal) {
            $this->before[$signal] = pcntl_signal_get_handler($signal);
            pcntl_signal($signal, function (): void {
                $this->came = true;
                if ($this->asking) {
                    throw new Interrupted();
                }
            });
        }
    }

    /**
     * Whether a signal came.
     */
    public function came(): bool
    {
        return $this->came;
    }

    /**
     * Asks something of Kafka; null where a signal came meanwhile.
     *
     * @template T
     *
     * @param Closure(): T $question
     *
     * @return T|null
     */
    public function run(Closure $question): mixed
    {
        $this->asking = true;
        try {
            try {
                return $question();
            } finally {
                $this->asking = false;
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
        while (!$this->came && microtime(true) < $until) {
            usleep(50_000);
        }
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
