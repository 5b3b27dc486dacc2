<?php

declare(strict_types=1);

namespace Toporia\Realtime\Support;

use Closure;
use RuntimeException;

/**
 * Records SIGINT, SIGTERM and SIGQUIT, so that a command can stop between two steps, or interrupt a request to Kafka.
 * Active from construction to release(); a second signal does not end the process either. Without pcntl, signals keep
 * their default action.
 */
final class StopFlag
{
    private bool $set = false;
    private bool $async = false;
    /** @var array<int, callable|int> previous handlers, by signal */
    private array $before = [];
    /** Thrown by a signal during run(). */
    private ?RuntimeException $interrupt = null;

    public function __construct()
    {
        if (!function_exists('pcntl_signal')) {
            return;
        }
        $this->async = pcntl_async_signals(true);
        foreach ([SIGINT, SIGTERM, SIGQUIT] as $signal) {
            $this->before[$signal] = pcntl_signal_get_handler($signal);
            pcntl_signal($signal, function (): void {
                $this->set = true;
                if ($this->interrupt !== null) {
                    throw $this->interrupt;
                }
            });
        }
    }

    /** True once a signal was received. */
    public function isSet(): bool
    {
        return $this->set;
    }

    /** Same as isSet(), as a stop condition of a worker. */
    public function reason(): ?string
    {
        return $this->set ? 'signal' : null;
    }

    /**
     * Runs a request; null if a signal interrupted it.
     *
     * @template T
     *
     * @param Closure(): T $request
     *
     * @return T|null
     */
    public function run(Closure $request): mixed
    {
        $interrupt = $this->interrupt = new RuntimeException('Interrupted by a signal.');
        try {
            try {
                return $request();
            } finally {
                $this->interrupt = null;
            }
        } catch (RuntimeException $e) {
            return $e === $interrupt ? null : throw $e;
        }
    }

    /** Sleeps, or returns early on a signal. */
    public function sleep(float $seconds): void
    {
        $until = microtime(true) + $seconds;
        while (!$this->set && microtime(true) < $until) {
            usleep(50_000);
        }
    }

    /** Restores the previous handlers. */
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
