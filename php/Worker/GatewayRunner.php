<?php

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

use Toporia\Realtime\Metrics;

/**
 * Runs the gateway on its own, in any host, from start to summary. Shuts down cleanly on a signal, realtime:restart,
 * --max-time or --max-memory.
 */
final class GatewayRunner
{
    public const DONE = 0;
    public const FAILED = 1;

    /** Interval of the stop conditions, in ms. */
    private const TICK_MS = 200;

    public function __construct(private GatewayLifecycle $gateway, private StopConditions $stop, private Reporter $reporter)
    {
    }

    /**
     * @return int the exit code
     */
    public function run(): int
    {
        $start = hrtime(true);
        $this->gateway->start();
        while (!$this->gateway->wait(self::TICK_MS) && $this->stop->reason() === null) {
            $this->gateway->reportProgress();
            $this->gateway->heartbeat();
        }
        $failed = !$this->gateway->isRunning();
        // Draining may exceed the liveness timeout, and the process must no longer report itself as ready.
        Metrics::stop();
        $this->gateway->stop();
        $reason = $failed ? 'error' : $this->stop->met() ?? 'signal';
        $code = $failed ? self::FAILED : self::DONE;
        $seconds = (hrtime(true) - $start) / 1e9;
        $this->reporter->event(
            'summary',
            "Stopped by $reason after " . number_format($seconds, 1) . ' s.',
            ['reason' => $reason, 'exit_code' => $code, 'seconds' => round($seconds, 3)]
        );

        return $code;
    }
}
