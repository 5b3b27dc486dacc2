<?php

/**
 * realtime:gateway: runs the WebSocket gateway on its own.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Console;

use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Input\InputOption;
use Symfony\Component\Console\Output\OutputInterface;
use Toporia\Realtime\Gateway;
use Toporia\Realtime\Worker\GatewayOptions;
use Toporia\Realtime\Worker\GatewayRunner;
use Toporia\Realtime\Worker\JsonReporter;
use Toporia\Realtime\Worker\MonitorOptions;
use Toporia\Realtime\Worker\RestartSignal;
use Toporia\Realtime\Worker\GatewayLifecycle;
use Toporia\Realtime\Worker\StopConditions;
use Toporia\Realtime\Worker\TextReporter;

/**
 * Reads the input and assembles the parts; GatewayRunner does the work.
 */
final class GatewayCommand extends Command
{
    public function __construct(private Host $host)
    {
        parent::__construct('realtime:gateway');
    }

    protected function configure(): void
    {
        $value = InputOption::VALUE_REQUIRED;
        MonitorOptions::define($this);
        $this
            ->setDescription('Runs the WebSocket gateway: what is broadcast reaches browsers (pusher-js, laravel-echo)')
            ->addOption('broker', null, $value, 'Broker name in the configuration', 'kafka')
            ->addOption('host', null, $value, 'Address to listen on, instead of the configured one')
            ->addOption('port', null, $value, 'Port to listen on, instead of the configured one (0: any free one)')
            ->addOption(
                'ws-channels',
                null,
                $value | InputOption::VALUE_IS_ARRAY,
                'What sockets may subscribe to: a comma list, or repeated; patterns allowed (default: every channel)'
            )
            ->addOption('drain', null, $value, 'Longest time to send clients elsewhere at the end, in ms', '5000')
            ->addOption('max-time', null, $value, 'Stop after so many seconds (0: no limit)', '0')
            ->addOption('max-memory', null, $value, 'Stop above so much memory: 128 (MB), 128M, 1G')
            ->addOption('json', null, InputOption::VALUE_NONE, 'Report one JSON object a line, the last the summary')
            ->setHelp(
                <<<'HELP'
                Needs REALTIME_APP_ID, REALTIME_APP_KEY and REALTIME_APP_SECRET, or the same under <info>gateway</info>
                in config/realtime.php. Listens on 127.0.0.1:6001 unless told otherwise; TLS is for nginx before it.

                Ctrl-C or SIGTERM ends it in order: its clients are told to come back, and do so at its successor.

                  <info>%command.full_name% --host=0.0.0.0 --port=6001</info>
                  <info>%command.full_name% --ws-channels=order.*,public.*</info>
                HELP
            );
    }

    protected function execute(InputInterface $input, OutputInterface $output): int
    {
        $raw = $input->getOptions();
        $options = GatewayOptions::fromArray($raw);
        $terminal = new OutputTerminal($output);
        $reporter = $raw['json'] ? new JsonReporter($terminal) : new TextReporter($terminal);
        MonitorOptions::fromArray($raw)->report($reporter);
        $restart = RestartSignal::of($this->host->config(), $this->host->directory());
        $runner = new GatewayRunner(
            new GatewayLifecycle(new Gateway($options->settings()), $options, $reporter),
            StopConditions::limits($options->maxTime, $options->maxMemory, $restart),
            $reporter
        );

        return $runner->run();
    }
}
