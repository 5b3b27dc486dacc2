<?php

/**
 * The options of every long-running command on who watches it: --metrics and --heartbeat.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

use Closure;
use Symfony\Component\Console\Command\Command;
use Symfony\Component\Console\Input\InputOption;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\ConnectionException;
use Toporia\Realtime\Metrics;

/**
 * What is not given comes from the settings metrics and heartbeat_file.
 */
final class MonitorOptions
{
    private function __construct(public readonly ?string $metrics, public readonly ?string $heartbeat)
    {
    }

    /**
     * Gives a command these options.
     */
    public static function define(Command $command): void
    {
        $value = InputOption::VALUE_REQUIRED;
        $command
            ->addOption(
                'metrics',
                null,
                $value,
                'Serve /metrics (Prometheus), /live, /ready on host:port, or on the first free one of host:first-last'
            )
            ->addOption('heartbeat', null, $value, 'A file to touch every second while the loop comes round');
    }

    /**
     * @param array<string, mixed> $raw by option name without dashes
     *
     * @throws UsageError naming the option
     */
    public static function fromArray(array $raw): self
    {
        return new self(
            OptionValue::text('--metrics', $raw['metrics'] ?? null),
            OptionValue::text('--heartbeat', $raw['heartbeat'] ?? null)
        );
    }

    /**
     * Listens and touches from now on.
     *
     * @param (Closure(string): void)|null $onListening told of the address that is listened on, where there is one
     *
     * @throws ConfigurationException no address, or a file that cannot be
     * @throws ConnectionException the port of --metrics is taken
     */
    public function start(?Closure $onListening = null): void
    {
        Metrics::heartbeat($this->heartbeat);
        $address = Metrics::serve($this->metrics);
        if ($address !== null && $onListening !== null) {
            $onListening($address);
        }
    }

    /**
     * The same, told to a reporter.
     *
     * @throws ConfigurationException no address, or a file that cannot be
     * @throws ConnectionException the port of --metrics is taken
     */
    public function report(Reporter $reporter): void
    {
        $this->start(static function (string $address) use ($reporter): void {
            $reporter->event('metrics', "metrics are served on http://$address/metrics", ['address' => $address]);
        });
    }
}
