<?php

declare(strict_types=1);

namespace Toporia\Realtime;

use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\ConnectionException;
use Toporia\Realtime\Exception\ExtensionMissingException;

/**
 * Monitoring of this process: metrics for Prometheus, liveness for supervisors.
 *
 * The settings `metrics`, `heartbeat_file`, `metrics_textfile` and `liveness_timeout_ms` do the same without code:
 * Broker::consume(), Gateway::start() and the commands apply them. All metrics are listed in docs/monitoring.md.
 */
final class Metrics
{
    /**
     * Static methods only.
     */
    private function __construct()
    {
    }

    /**
     * Serves /metrics, /live, /ready and /up on a native thread, until stop() or the end of the process.
     *
     *     Metrics::serve('127.0.0.1:9400');
     *
     * @param string|null $address host:port, replaces the previous address; or host:first-last for the first free port
     *        of a range; port 0: any free port; null: the setting `metrics`, unless it is already listening
     *
     * @return string|null the address in use; null: not listening
     *
     * @throws ConfigurationException invalid address
     * @throws ConnectionException the port is in use (only a warning for the setting: one of several workers has it)
     * @throws ExtensionMissingException an address was passed, but the extension is not loaded
     */
    public static function serve(?string $address = null): ?string
    {
        return $address === null ? null : throw Support\ExtensionMissing::exception('Serving metrics');
    }

    /**
     * Touches a file once a second while a loop of this process is alive: consume(), poll(), or a loop that calls
     * beat().
     *
     * @param string|null $file null: the setting `heartbeat_file`, unless a file is already set
     *
     * @throws ConfigurationException the file cannot be written
     */
    public static function heartbeat(?string $file = null): void
    {
    }

    /**
     * Reports that a loop of the application is alive. For loops other than consume(), which does it itself: without a
     * call for liveness_timeout_ms, /live returns 503, the heartbeat file is no longer touched, and systemd's watchdog
     * is not notified.
     *
     * @param string|null $status one line for systemctl status
     * @param bool $ready false: alive, but systemd is not yet notified that the service has started
     */
    public static function beat(?string $status = null, bool $ready = true): void
    {
    }

    /**
     * Returns the reason why this process counts as stuck (/live returns 503); null: all loops are alive.
     */
    public static function stuck(): ?string
    {
        return null;
    }

    /**
     * Returns the metrics as served on /metrics.
     *
     * @param bool $openMetrics OpenMetrics 1.0 instead of Prometheus' classic text
     */
    public static function text(bool $openMetrics = false): string
    {
        return $openMetrics ? "# EOF\n" : '';
    }

    /**
     * Closes the port, notifies systemd that the service is stopping, and expects no further beat(). Does nothing if
     * nothing is running.
     */
    public static function stop(): void
    {
    }
}
