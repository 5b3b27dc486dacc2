<?php

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

use Toporia\Realtime\Gateway;
use Toporia\Realtime\Metrics;

/**
 * Starts, monitors and stops the gateway of a command, and reports each step. The gateway runs on its own native
 * threads.
 */
final class GatewayLifecycle
{
    private const TICK_MS = 200;
    /** Between two progress lines. */
    private const PROGRESS_SECONDS = 10.0;

    private float $lastReport;
    private int $delivered = 0;
    private ?bool $ready = null;

    public function __construct(
        private Gateway $gateway,
        private GatewayOptions $options,
        private Reporter $reporter
    ) {
        $this->lastReport = microtime(true);
    }

    /**
     * Runs the gateway on its own, from start to summary.
     *
     * @return int the exit code
     */
    public function run(StopConditions $stop): int
    {
        $start = hrtime(true);
        $this->start();
        while (!$this->gateway->wait(self::TICK_MS) && $stop->reason() === null) {
            $this->reportProgress();
            // Feeds the liveness checks; systemd is notified once the gateway is ready.
            Metrics::beat($this->ready ? 'the gateway is ready' : 'the gateway is not ready', (bool) $this->ready);
        }
        $failed = !$this->gateway->isRunning();
        // Draining may exceed the liveness timeout, and the process must no longer report itself as ready.
        Metrics::stop();
        $this->stop();
        $reason = $failed ? 'error' : $stop->met() ?? 'signal';
        $code = $failed ? 1 : 0;
        $seconds = (hrtime(true) - $start) / 1e9;
        $this->reporter->event(
            'summary',
            Reporter::stopped($reason) . ' after ' . number_format($seconds, 1) . ' s.',
            ['reason' => $reason, 'exit_code' => $code, 'seconds' => round($seconds, 3)]
        );

        return $code;
    }

    /**
     * Opens the port. Signal handlers are installed before the address is reported, so that an early signal drains too.
     */
    public function start(): void
    {
        $address = $this->gateway->start()->address();
        $this->gateway->wait(0);
        $channels = $this->options->wsChannels;
        $this->reporter->event(
            'gateway',
            "the WebSocket gateway listens on $address, for " . ($channels === []
                ? 'all channels of the prefix'
                : 'the channels ' . Text::printable(implode(', ', $channels))),
            ['address' => $address, 'broker' => $this->options->broker, 'ws_channels' => $channels]
        );
    }

    /** Reports progress at intervals, and readiness changes immediately. */
    public function reportProgress(): void
    {
        $stats = $this->gateway->stats();
        $ready = (bool) ($stats['ready'] ?? false);
        if ($ready !== $this->ready && ($this->ready !== null || $ready)) {
            $why = isset($stats['not_ready']) ? ': ' . Text::printable((string) $stats['not_ready']) : '';
            $ready
                ? $this->reporter->event('gateway_ready', 'the gateway is ready')
                : $this->reporter->event('gateway_not_ready', "the gateway is not ready$why");
            $this->ready = $ready;
        }
        $now = microtime(true);
        $seconds = $now - $this->lastReport;
        if ($seconds < self::PROGRESS_SECONDS) {
            return;
        }
        $delivered = (int) ($stats['frames_sent'] ?? 0);
        $this->reporter->event(
            'gateway_progress',
            Text::count((int) ($stats['connections'] ?? 0), 'socket') . ', '
            . Text::count((int) ($stats['channels'] ?? 0), 'channel') . ', '
            . Text::number($delivered) . ' frames sent ('
            . Text::number(round(max(0, $delivered - $this->delivered) / $seconds)) . '/s)',
            ['stats' => $stats]
        );
        $this->lastReport = $now;
        $this->delivered = $delivered;
    }

    /** Drains the connected clients, then stops the gateway. */
    public function stop(): void
    {
        $stats = $this->gateway->stats();
        $sockets = (int) ($stats['connections'] ?? 0);
        if ($sockets > 0 && $this->options->drainMs > 0) {
            $this->reporter->event(
                'gateway_drain',
                'draining ' . Text::count($sockets, 'socket') . ' for up to '
                . number_format($this->options->drainMs / 1000, 1) . ' s',
                ['sockets' => $sockets, 'drain_ms' => $this->options->drainMs]
            );
        }
        $this->gateway->stop($this->options->drainMs);
        $this->reporter->event(
            'gateway_stopped',
            'the gateway has stopped, ' . Text::number((int) ($stats['frames_sent'] ?? 0)) . ' frames sent',
            ['stats' => $stats]
        );
    }
}
