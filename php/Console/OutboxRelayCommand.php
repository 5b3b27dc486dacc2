<?php

declare(strict_types=1);

namespace Toporia\Realtime\Console;

use Symfony\Component\Console\Attribute\AsCommand;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Input\InputOption;
use Symfony\Component\Console\Output\OutputInterface;
use Toporia\Realtime\Broker;
use Toporia\Realtime\Metrics;
use Toporia\Realtime\Outbox\Relay;
use Toporia\Realtime\Outbox\RelayOptions;
use Toporia\Realtime\Outbox\RelayReporter;
use Toporia\Realtime\Outbox\Sender;
use Toporia\Realtime\Outbox\Settings;
use Toporia\Realtime\Support\StopFlag;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Worker\RestartSignal;
use Toporia\Realtime\Worker\RunOptions;
use Toporia\Realtime\Worker\StopConditions;
use Toporia\Realtime\Worker\Terminal;

/**
 * realtime:outbox:relay: sends the rows of the transactional outbox. Reads the input and assembles the parts; Relay
 * does the work.
 */
#[AsCommand('realtime:outbox:relay', 'Send the rows of the transactional outbox to Kafka')]
final class OutboxRelayCommand extends Command
{
    protected function configure(): void
    {
        $value = InputOption::VALUE_REQUIRED;
        RunOptions::defineWithLimits($this);
        $this
            ->addOption('broker', null, $value, 'Broker name in the configuration', 'kafka')
            ->addOption('batch-size', null, $value, 'Maximum batch size, in rows (at most 1000)', '500')
            ->addOption('interval', null, $value, 'Pause when the outbox is empty, in ms', '500')
            ->addOption('stop-when-empty', null, InputOption::VALUE_NONE, 'Stop when there is nothing left to send')
            ->addOption('retention', null, $value, 'Keep sent rows for N seconds (0: delete immediately) '
                . '[default: 86400]')
            ->addOption('shards', null, $value, 'Number of shards, as in the application\'s Outbox [default: 16]')
            ->addOption('table', null, $value, 'Outbox table [default: realtime_outbox]')
            ->addOption('lock', null, $value, 'Lock type for shards: auto, advisory or lease [default: auto]')
            ->addOption('lease', null, $value, 'Lease duration in seconds [default: 15]')
            ->setHelp(
                <<<'HELP'
                The database is <info>REALTIME_OUTBOX_DSN</info>, <info>_USERNAME</info> and <info>_PASSWORD</info>, or
                <info>outbox</info> in config/realtime.php. Several relays may run at the same time.

                A row is marked as sent after Kafka has acknowledged it: at least once, with a stable message id, in
                order per key. While Kafka is unreachable the relay waits. A row that Kafka rejects is retried and
                blocks later rows of its key; a row that can never be sent is marked as failed.

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
        $reporter = new RelayReporter(new Terminal($output), $options->json);
        RunOptions::start($input->getOptions(), $reporter->event(...));
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
        $restart = RestartSignal::of($config, $this->host->directory());
        $signal = new StopFlag();
        $stop = StopConditions::of(
            $options->maxTime,
            $options->maxMemory,
            $restart,
            StopConditions::heartbeat(...),
            $signal->reason(...)
        );
        $relay = new Relay(
            $database,
            new Sender($broker, Realtime::flush(...)),
            $options,
            $stop,
            $reporter,
            static fn (): ?string => Realtime::stats()['last_error']
        );
        try {
            return $relay->run();
        } finally {
            $signal->release();
            Metrics::stop();
        }
    }
}
