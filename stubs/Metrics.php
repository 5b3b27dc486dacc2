<?php

/**
 * IDE stub of the native Metrics class, and its stand-in where the extension is not loaded.
 */

declare(strict_types=1);

namespace Toporia\Realtime;

use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\ConnectionException;
use Toporia\Realtime\Exception\ExtensionMissingException;

/**
 * What this process can be asked about while it runs: metrics for Prometheus, liveness for supervisors.
 *
 * The settings `metrics`, `heartbeat_file`, `metrics_textfile` and `liveness_timeout_ms` do the same without a line of
 * code: Broker::consume() and Gateway::start() read them, and so do the commands. docs/monitoring.md has every metric.
 */
final class Metrics
{
    /**
     * Has static methods only.
     */
    private function __construct()
    {
    }

    /**
     * Serves /metrics, /live, /ready and /up from a native thread, until stop() or the end of the process.
     *
     *     Metrics::serve('127.0.0.1:9400');
     *
     * @param string|null $address host:port, in place of the one before, or host:first-last for the first free port of a
     *        range; port 0: any free one; null: the setting `metrics`, unless it listens already
     *
     * @return string|null the address that is listened on; null: none
     *
     * @throws ConfigurationException no such address
     * @throws ConnectionException the port is taken (of the setting that is only a warning: one of several workers has it)
     * @throws ExtensionMissingException an address, without the extension
     */
    public static function serve(?string $address = null): ?string
    {
        return $address === null ? null : throw Support\ExtensionMissing::exception('Serving metrics');
    }

    /**
     * Touches a file once a second while a loop of this process comes round: consume(), poll(), or one that calls beat().
     *
     * @param string|null $file null: the setting `heartbeat_file`, unless there is one already
     *
     * @throws ConfigurationException a file that cannot be
     */
    public static function heartbeat(?string $file = null): void
    {
    }

    /**
     * The loop of an application came round. For loops that are not consume(), which does it itself: without a call for
     * liveness_timeout_ms /live answers 503, the heartbeat file grows old, and systemd's watchdog is not fed.
     *
     * @param string|null $status one line for systemctl status
     * @param bool $ready false: alive, but systemd is not told yet that the service has started
     */
    public static function beat(?string $status = null, bool $ready = true): void
    {
    }

    /**
     * Why this process counts as stuck: what /live would answer with 503; null where every loop comes round.
     */
    public static function stuck(): ?string
    {
        return null;
    }

    /**
     * What a scrape would read.
     *
     * @param bool $openMetrics OpenMetrics 1.0 instead of Prometheus' classic text
     */
    public static function text(bool $openMetrics = false): string
    {
        return $openMetrics ? "# EOF\n" : '';
    }

    /**
     * Closes the port, tells systemd that the service ends, and waits for no further beat(). Harmless where nothing runs.
     */
    public static function stop(): void
    {
    }
}
