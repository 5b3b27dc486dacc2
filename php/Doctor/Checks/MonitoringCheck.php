<?php

/**
 * Checks that the workers of this machine are alive and that the monitoring files are writable.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Doctor\Checks;

use Toporia\Realtime\Doctor\Check;
use Toporia\Realtime\Doctor\Context;
use Toporia\Realtime\Doctor\Finding;
use Toporia\Realtime\Doctor\HttpProbe;

/**
 * Checks only what is configured: `metrics`, `heartbeat_file`, `metrics_textfile`.
 */
final class MonitoringCheck implements Check
{
    /** A running loop touches the file every second. */
    private const STALE = 60;

    public function name(): string
    {
        return 'monitoring';
    }

    public function title(): string
    {
        return 'Workers of this machine';
    }

    public function needs(): array
    {
        return [];
    }

    public function run(Context $context): iterable
    {
        $address = $context->settings->text('metrics', '');
        if ($address !== '' && $address !== 'off') {
            // The first port of a range.
            yield $this->live((string) preg_replace('/(:\d+)-\d+\z/', '$1', $address), $context->options->timeout);
        }
        $heartbeat = $context->settings->text('heartbeat_file', '');
        if ($heartbeat !== '') {
            yield $this->heartbeat($heartbeat);
        }
        $directory = $context->settings->text('metrics_textfile', '');
        if ($directory !== '') {
            yield is_dir($directory) && is_writable($directory)
                ? Finding::ok('metrics_textfile', "$directory can be written")
                : Finding::warning(
                    'metrics_textfile',
                    "$directory " . (is_dir($directory) ? 'cannot be written by this user' : 'is no directory')
                        . ': Prometheus sees nothing of short-lived processes',
                    "mkdir -p $directory, and let the user that runs PHP write there; the node exporter reads it "
                        . '(--collector.textfile.directory).'
                );
        }
    }

    private function live(string $address, float $timeout): Finding
    {
        [$status, $body] = HttpProbe::get($address, '/live', $timeout);
        $facts = ['address' => $address, 'status' => $status];

        return match ($status) {
            200 => Finding::ok('worker', 'its loop comes round (http://' . HttpProbe::reachable($address) . '/live)', $facts),
            503 => Finding::error(
                'worker',
                $body === '' ? 'is stuck: its loop does not come round' : $body,
                'Restart it (its supervisor, or SIGTERM, then SIGKILL); its last log lines and `cat /proc/PID/stack` say what '
                    . 'it waits for. A callback that takes longer than liveness_timeout_ms belongs in a queue.',
                $facts
            ),
            null => Finding::warning(
                'worker',
                "none answers at $address",
                'Where one should run: realtime:kafka:consume, or look at why its supervisor does not keep it running. On a '
                    . 'machine without workers this is in order.',
                $facts
            ),
            default => Finding::error(
                'worker',
                "something else answers at $address (HTTP $status)",
                'Give the workers another address (REALTIME_METRICS), or end what took it: `ss -ltnp` names it.',
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
                "$file cannot be written by this user: a probe that reads it takes every worker for dead",
                "mkdir -p $directory, and let the user that runs the workers write there, or set heartbeat_file "
                    . '(REALTIME_HEARTBEAT_FILE) to another place.'
            );
        }
        $age = is_file($file) ? time() - (int) filemtime($file) : null;

        return $age === null || $age <= self::STALE
            ? Finding::ok('heartbeat_file', $age === null ? "$file: no worker has touched it yet" : "$file was touched $age s ago")
            : Finding::warning(
                'heartbeat_file',
                "$file was last touched $age s ago: its worker is stuck, or gone",
                'Is the worker running? If it is, restart it; its last log lines say what it waits for. If it was taken away, '
                    . "delete $file.",
                ['age_seconds' => $age]
            );
    }
}
