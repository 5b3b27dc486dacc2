<?php

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

use Closure;
use Symfony\Component\Console\Command\Command;
use Symfony\Component\Console\Input\InputOption;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\ConnectionException;
use Toporia\Realtime\Metrics;

/**
 * The options of every long-running command: --metrics, --heartbeat, and the limits after which it stops. The defaults
 * of --metrics and --heartbeat come from the settings `metrics` and `heartbeat_file`.
 */
final class RunOptions
{
    private const MAX_SECONDS = 2147483647;

    /** Adds --metrics and --heartbeat to a command. */
    public static function define(Command $command): void
    {
        $value = InputOption::VALUE_REQUIRED;
        $command
            ->addOption(
                'metrics',
                null,
                $value,
                'Serve /metrics (Prometheus), /live and /ready on host:port, or on the first free port of '
                    . 'host:first-last'
            )
            ->addOption('heartbeat', null, $value, 'Touch this file every second while the loop is running');
    }

    /** Adds these options, --max-time, --max-memory and --json to a command. */
    public static function defineWithLimits(Command $command): void
    {
        self::define($command);
        $value = InputOption::VALUE_REQUIRED;
        $command
            ->addOption('max-time', null, $value, 'Stop after N seconds (0: no limit)', '0')
            ->addOption('max-memory', null, $value, 'Stop when memory exceeds this amount: 128 (MB), 128M, 1G')
            ->addOption(
                'json',
                null,
                InputOption::VALUE_NONE,
                'Print one JSON object per line; the last is the summary'
            );
    }

    /**
     * --max-time in seconds, --max-memory in bytes; 0: no limit.
     *
     * @param array<string, mixed> $raw values by option name, without dashes; null or absent: no limit
     *
     * @return array{int, int}
     *
     * @throws UsageError an invalid option; the message names it
     */
    public static function limits(array $raw): array
    {
        return [
            OptionValue::int('--max-time', $raw['max-time'] ?? 0, 0, self::MAX_SECONDS),
            isset($raw['max-memory']) ? OptionValue::memory('--max-memory', $raw['max-memory']) : 0,
        ];
    }

    /**
     * Starts serving metrics and touching the heartbeat file.
     *
     * @param array<string, mixed> $raw values by option name, without dashes
     * @param Closure(string, string, array<string, mixed>): void $event as Reporter::event(): the address of the metrics
     *
     * @throws UsageError an invalid option; the message names it
     * @throws ConfigurationException an invalid address or file
     * @throws ConnectionException the port of --metrics is in use
     */
    public static function start(array $raw, Closure $event): void
    {
        $metrics = OptionValue::text('--metrics', $raw['metrics'] ?? null);
        Metrics::heartbeat(OptionValue::text('--heartbeat', $raw['heartbeat'] ?? null));
        $address = Metrics::serve($metrics);
        if ($address !== null) {
            $event('metrics', "metrics are served on http://$address/metrics", ['address' => $address]);
        }
    }
}
