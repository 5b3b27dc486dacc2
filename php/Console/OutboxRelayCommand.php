<?php

/**
 * realtime:outbox:relay: sends the rows of the transactional outbox.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Console;

use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Input\InputOption;
use Symfony\Component\Console\Output\OutputInterface;
use Toporia\Realtime\Broker;
use Toporia\Realtime\Metrics;
use Toporia\Realtime\Outbox\JsonRelayReporter;
use Toporia\Realtime\Outbox\Relay;
use Toporia\Realtime\Outbox\RelayOptions;
use Toporia\Realtime\Outbox\Sender;
use Toporia\Realtime\Outbox\Settings;
use Toporia\Realtime\Outbox\SignalReceived;
use Toporia\Realtime\Outbox\TextRelayReporter;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Worker\Heartbeat;
use Toporia\Realtime\Worker\MaxMemory;
use Toporia\Realtime\Worker\MaxTime;
use Toporia\Realtime\Worker\MonitorOptions;
use Toporia\Realtime\Worker\RestartRequested;
use Toporia\Realtime\Worker\RestartSignal;
use Toporia\Realtime\Worker\StopConditions;

/**
 * Reads the input and assembles the parts; Relay does the work.
 */
final class OutboxRelayCommand extends Command
{
    public function __construct(private Host $host)
    {
        parent::__construct('realtime:outbox:relay');
    }

    protected function configure(): void
    {
        $value = InputOption::VALUE_REQUIRED;
        MonitorOptions::define($this);
        $this
            ->setDescription('Sends what the application wrote into its transactional outbox')
            ->addOption('broker', null, $value, 'Broker name in the configuration', 'kafka')
            ->addOption('batch-size', null, $value, 'Most rows sent at once, 1000 at most', '500')
            ->addOption('interval', null, $value, 'Pause when nothing waits, in ms', '500')
            ->addOption('stop-when-empty', null, InputOption::VALUE_NONE, 'Stop when nothing can be sent any more')
            ->addOption('max-time', null, $value, 'Stop after so many seconds (0: no limit)', '0')
            ->addOption('max-memory', null, $value, 'Stop above so much memory: 128 (MB), 128M, 1G')
            ->addOption('retention', null, $value, 'Seconds that sent rows are kept (0: deleted at once) [default: 86400]')
            ->addOption('shards', null, $value, 'Shards of the application\'s Outbox [default: 16]')
            ->addOption('table', null, $value, 'The outbox table [default: realtime_outbox]')
            ->addOption('lock', null, $value, 'What holds a shard: auto, advisory or lease [default: auto]')
            ->addOption('lease', null, $value, 'Seconds a lease lasts [default: 15]')
            ->addOption('json', null, InputOption::VALUE_NONE, 'Report one JSON object a line, the last the summary')
            ->setHelp(
                <<<'HELP'
                The database is <info>REALTIME_OUTBOX_DSN</info>, <info>_USERNAME</info> and <info>_PASSWORD</info>, or
                <info>outbox</info> in config/realtime.php. Any number of relays may run beside each other.

                A row is marked as sent after Kafka has acknowledged it: at least once, always with the same message id,
                in order for each key. While Kafka is away the relay waits. A row that Kafka refuses is tried again and
                holds back later rows of its key; one that can never be sent is marked as failed.

                Exit codes: 0 stopped by a signal or a limit, 1 failed while running, 2 wrong usage.

                  <info>%command.full_name%</info>
                  <info>%command.full_name% --stop-when-empty --json</info>
                HELP
            );
    }

    protected function execute(InputInterface $input, OutputInterface $output): int
    {
        $config = $this->host->config();
        $settings = Settings::of($config);
        $options = RelayOptions::fromArray($input->getOptions(), $settings);
        $terminal = new OutputTerminal($output);
        $reporter = $options->json ? new JsonRelayReporter($terminal) : new TextRelayReporter($terminal);
        MonitorOptions::fromArray($input->getOptions())->start(static function (string $address) use ($reporter): void {
            $reporter->event('metrics', "metrics are served on http://$address/metrics", ['address' => $address]);
        });
        $database = $settings->database();
        $broker = new Broker([
            'broker' => $options->broker,
            // The outbox table is the persistent queue; a spool would send the rows twice.
            'spool' => false,
            'produce' => 'async',
            'acks' => 'all',
            'delivery' => 'at-least-once',
            // Messages never expire, so that a waiting message is sent before later ones in its partition.
            'producer_config' => ['message.timeout.ms' => 0],
            'shutdown_flush_ms' => 100,
        ]);
        $signal = new SignalReceived();
        $conditions = [new Heartbeat(), $signal, new RestartRequested(RestartSignal::of($config, $this->host->directory()))];
        if ($options->maxTime > 0) {
            $conditions[] = new MaxTime($options->maxTime);
        }
        if ($options->maxMemory > 0) {
            $conditions[] = new MaxMemory($options->maxMemory);
        }
        $relay = new Relay(
            $database,
            new Sender($broker, Realtime::flush(...)),
            $options,
            new StopConditions(...$conditions),
            $reporter,
            static fn (): ?string => Realtime::stats()['last_error']
        );
        $signal->listen();
        try {
            return $relay->run();
        } finally {
            $signal->end();
            Metrics::stop();
        }
    }
}
