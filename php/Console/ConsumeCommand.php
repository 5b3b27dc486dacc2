<?php

declare(strict_types=1);

namespace Toporia\Realtime\Console;

use Symfony\Component\Console\Attribute\AsCommand;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Input\InputOption;
use Symfony\Component\Console\Output\OutputInterface;
use Toporia\Realtime\Gateway;
use Toporia\Realtime\Worker\ConsumeOptions;
use Toporia\Realtime\Worker\ConsumeReporter;
use Toporia\Realtime\Worker\ConsumeRunner;
use Toporia\Realtime\Worker\GatewayLifecycle;
use Toporia\Realtime\Worker\HandlerResolver;
use Toporia\Realtime\Worker\RestartSignal;
use Toporia\Realtime\Worker\RunOptions;
use Toporia\Realtime\Worker\StopConditions;
use Toporia\Realtime\Worker\Terminal;

/** realtime:kafka:consume: runs a worker. Reads the input and assembles the parts; ConsumeRunner does the work. */
#[AsCommand('realtime:kafka:consume', 'Consume channels from Kafka and pass each message to its handler')]
final class ConsumeCommand extends WorkerCommand
{
    protected function configure(): void
    {
        $value = InputOption::VALUE_REQUIRED;
        RunOptions::defineWithLimits($this);
        $this->getDefinition()->addOptions($this->host->consumeOptions());
        $this
            ->addOption('broker', null, $value, 'Broker name in the configuration', 'kafka')
            ->addOption(
                'channels',
                null,
                $value | InputOption::VALUE_IS_ARRAY,
                'Channels to consume, comma-separated or repeated; patterns such as user.* (one segment) and '
                    . 'user.** allowed'
            )
            ->addOption('batch-size', null, $value, 'Maximum batch size, in records', '100')
            ->addOption('timeout', null, $value, 'Poll timeout in ms', '1000')
            ->addOption('max-messages', null, $value, 'Stop after N handled messages (0: no limit)', '0')
            ->addOption('stop-when-empty', null, InputOption::VALUE_NONE, 'Stop when all partitions have been read to '
                . 'their end')
            ->addOption('handler', null, $value, 'Class with handle(Message $message) for every message')
            ->addOption(
                'handler-lifetime',
                null,
                $value,
                'Recreate handlers and middleware after N seconds (0: for every message) [default: never; Laravel: 0]'
            )
            ->addOption('group', null, $value, 'Consumer group, overriding the configuration')
            ->addOption(
                'from',
                null,
                $value,
                'Start position: committed, beginning, end, an ISO 8601 time or Unix seconds. All but committed seek '
                . 'once per partition and process: a restart seeks again',
                'committed'
            )
            ->addOption('no-dlq', null, InputOption::VALUE_NONE, 'Stop at a message that keeps failing instead of '
                . 'dead-lettering it')
            ->addOption(
                'websocket',
                null,
                InputOption::VALUE_OPTIONAL,
                'Also run the WebSocket gateway in this process, on host:port or as configured. Without a handler only '
                . 'the gateway runs',
                false
            )
            ->addOption(
                'ws-channels',
                null,
                $value | InputOption::VALUE_IS_ARRAY,
                'With --websocket: channels that clients may subscribe to (default: all channels of the prefix)'
            )
            ->addOption('drain', null, $value, 'With --websocket: time to drain clients on shutdown, in ms', '5000')
            ->setHelp(
                <<<'HELP'
                Messages are passed to <info>--handler</info>, else to the entry of <info>handlers</info> in
                config/realtime.php for the event; without either they are printed.

                Exit codes: 0 done or stopped by a signal, 1 failed while running, 2 wrong usage.

                  <info>%command.full_name% --channels=user.1,order.* --handler='App\OrderHandler'</info>
                  <info>%command.full_name% --channels=user.** --from=beginning --stop-when-empty --group=check</info>
                  <info>%command.full_name% --channels=order.* --handler='App\OrderHandler' --websocket=0.0.0.0:6001</info>
                HELP
            );
    }

    protected function execute(InputInterface $input, OutputInterface $output): int
    {
        $options = ConsumeOptions::fromArray($this->host->translateOptions($input->getOptions()));
        $config = $this->host->config();
        $reporter = new ConsumeReporter(new Terminal($output), $options->json);
        $handlers = new HandlerResolver(
            $config,
            $this->host->make(...),
            $this->host->fallback(),
            $options->handlerLifetime ?? $this->host->handlerLifetime(),
            $this->host->renew(...)
        );
        RunOptions::start($input->getOptions(), $reporter->event(...));
        $restart = RestartSignal::of($config, $this->host->directory());
        $stop = StopConditions::of($options->maxTime, $options->maxMemory, $restart);
        $gateway = $options->gateway === null
            ? null
            : new GatewayLifecycle(new Gateway($options->gateway->settings()), $options->gateway, $reporter);
        if ($gateway !== null && ($options->channels === [] || !$handlers->hasHandlers($options->handler))) {
            $options->rejectConsumerOptions();

            return $gateway->run($stop);
        }
        $broker = $this->broker($options->broker, $options->settings());
        $failed = $this->host->failureListener($options);

        return (new ConsumeRunner($broker, $options, $handlers, $stop, $reporter, $gateway, $failed))->run();
    }
}
