<?php

declare(strict_types=1);

namespace Toporia\Realtime\Console;

use Symfony\Component\Console\Attribute\AsCommand;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Input\InputOption;
use Symfony\Component\Console\Output\OutputInterface;
use Toporia\Realtime\Gateway;
use Toporia\Realtime\Worker\GatewayLifecycle;
use Toporia\Realtime\Worker\GatewayOptions;
use Toporia\Realtime\Worker\Reporter;
use Toporia\Realtime\Worker\RestartSignal;
use Toporia\Realtime\Worker\RunOptions;
use Toporia\Realtime\Worker\StopConditions;
use Toporia\Realtime\Worker\Terminal;

/**
 * realtime:gateway: runs the WebSocket gateway on its own. Reads the input and assembles the parts; GatewayLifecycle
 * does the work.
 */
#[AsCommand(
    'realtime:gateway',
    'Run the WebSocket gateway, which delivers broadcasts to browsers (pusher-js, laravel-echo)'
)]
final class GatewayCommand extends WorkerCommand
{
    protected function configure(): void
    {
        $value = InputOption::VALUE_REQUIRED;
        RunOptions::defineWithLimits($this);
        $this
            ->addOption('broker', null, $value, 'Broker name in the configuration', 'kafka')
            ->addOption('host', null, $value, 'Address to listen on, overriding the configuration')
            ->addOption('port', null, $value, 'Port to listen on, overriding the configuration (0: any free port)')
            ->addOption(
                'ws-channels',
                null,
                $value | InputOption::VALUE_IS_ARRAY,
                'Channels that clients may subscribe to, comma-separated or repeated; patterns allowed (default: all)'
            )
            ->addOption('drain', null, $value, 'Time to drain clients on shutdown, in ms', '5000')
            ->setHelp(
                <<<'HELP'
                Needs REALTIME_APP_ID, REALTIME_APP_KEY and REALTIME_APP_SECRET, or the same under <info>gateway</info>
                in config/realtime.php. Listens on 127.0.0.1:6001 by default; use nginx in front of it for TLS.

                Ctrl-C, SIGTERM or SIGQUIT shuts it down cleanly: clients are asked to reconnect, which they do at its
                successor.

                  <info>%command.full_name% --host=0.0.0.0 --port=6001</info>
                  <info>%command.full_name% --ws-channels=order.*,public.*</info>
                HELP
            );
    }

    protected function execute(InputInterface $input, OutputInterface $output): int
    {
        $raw = $input->getOptions();
        $options = GatewayOptions::fromArray($raw);
        [$maxTime, $maxMemory] = RunOptions::limits($raw);
        $reporter = new Reporter(new Terminal($output), (bool) $raw['json']);
        RunOptions::start($raw, $reporter->event(...));
        $restart = RestartSignal::of($this->host->config(), $this->host->directory());
        $gateway = new GatewayLifecycle(new Gateway($options->settings()), $options, $reporter);

        return $gateway->run(StopConditions::of($maxTime, $maxMemory, $restart));
    }
}
