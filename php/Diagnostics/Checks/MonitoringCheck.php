<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics\Checks;

use Toporia\Realtime\Diagnostics\Check;
use Toporia\Realtime\Diagnostics\Context;
use Toporia\Realtime\Diagnostics\Finding;
use Toporia\Realtime\Support\HttpRequest;

/**
 * Checks that the workers of this machine are alive and that the monitoring files are writable. Checks only what is
 * configured: `metrics`, `heartbeat_file`, `metrics_textfile`.
 */
final class MonitoringCheck extends Check
{
    public const NAME = 'monitoring';
    public const TITLE = 'Workers of this machine';
    public const NEEDS = ['configuration'];
    /** A running loop touches the file every second. */
    private const STALE = 60;

    public function run(Context $context): iterable
    {
        $address = $context->settings['metrics'];
        if ($address !== null) {
            // The first port of a range.
            yield $this->live((string) preg_replace('/(:\d+)-\d+\z/', '$1', $address), $context->options->timeout);
        }
        $heartbeat = $context->settings['heartbeat_file'];
        if ($heartbeat !== null) {
            yield $this->heartbeat($heartbeat);
        }
        $directory = $context->settings['metrics_textfile'];
        if ($directory !== null) {
            yield is_dir($directory) && is_writable($directory)
                ? Finding::ok('metrics_textfile', "$directory can be written")
                : Finding::warning(
                    'metrics_textfile',
                    "$directory " . (is_dir($directory) ? 'cannot be written by this user' : 'is not a directory')
                        . ': Prometheus gets no metrics of short-lived processes',
                    "mkdir -p $directory, and make it writable for the user that runs PHP; the node exporter reads it "
                        . '(--collector.textfile.directory).'
                );
        }
    }

    private function live(string $address, float $timeout): Finding
    {
        [$status, $body] = HttpRequest::probe($address, '/live', $timeout);
        $facts = ['address' => $address, 'status' => $status];

        return match ($status) {
            200 => Finding::ok('worker', 'its loop is running '
                . '(http://' . HttpRequest::reachable($address) . '/live)', $facts),
            503 => Finding::error(
                'worker',
                $body === '' ? 'is stuck: its loop is not running' : $body,
                'Restart it (supervisor, or SIGTERM, then SIGKILL); its last log lines and `cat /proc/PID/stack` '
                    . 'show what '
                    . 'it waits for. A callback that takes longer than liveness_timeout_ms should use a job queue.',
                $facts
            ),
            null => Finding::warning(
                'worker',
                "none responds at $address",
                'If one should run here: start realtime:kafka:consume, or check why its supervisor does not keep it '
                    . 'running. On a machine without workers this is normal.',
                $facts
            ),
            default => Finding::error(
                'worker',
                "another program responds at $address (HTTP $status)",
                'Use another address for the workers (REALTIME_METRICS), or stop the program that uses it: `ss -ltnp` '
                    . 'shows it.',
                $facts
            ),
        };
    }

    private function heartbeat(string $file): Finding
    {
        $directory = dirname($file);
        if (!is_dir($directory) || !is_writable(is_file($file) ? $file : $directory)) {
            return Finding::error(
                'heartbeat_file',
                "$file cannot be written by this user: a liveness probe on it considers every worker dead",
                "mkdir -p $directory, and make it writable for the user that runs the workers, or set heartbeat_file "
                    . '(REALTIME_HEARTBEAT_FILE) to another path.'
            );
        }
        $age = is_file($file) ? time() - (int) filemtime($file) : null;

        return $age === null || $age <= self::STALE
            ? Finding::ok('heartbeat_file', $age === null ? "$file: no worker has "
                . "touched it yet" : "$file was touched $age s ago")
            : Finding::warning(
                'heartbeat_file',
                "$file was last touched $age s ago: its worker is stuck, or gone",
                'Is the worker running? If so, restart it; its last log lines show what it waits for. If it was '
                    . "removed, delete $file.",
                ['age_seconds' => $age]
            );
    }
}
