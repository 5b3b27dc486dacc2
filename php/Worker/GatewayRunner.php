<?php

/**
 * Runs the gateway alone, from its start to its summary, in whatever host.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

use Toporia\Realtime\Metrics;

/**
 * Ends at a signal, at realtime:restart, at --max-time and --max-memory, and in order.
 */
final class GatewayRunner
{
    public const DONE = 0;
    public const FAILED = 1;

    /** How often stop conditions are asked, in ms. */
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
        // The end may take its time: that is no stuck loop, and nobody should send more work here.
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
