<?php

declare(strict_types=1);

namespace Toporia\Realtime\Console;

use Symfony\Component\Console\Attribute\AsCommand;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Input\InputOption;
use Symfony\Component\Console\Output\OutputInterface;
use Toporia\Realtime\EmbeddedBroker;
use Toporia\Realtime\Metrics;
use Toporia\Realtime\Support\StopFlag;
use Toporia\Realtime\Worker\OptionValue;
use Toporia\Realtime\Worker\RunOptions;

/** realtime:kafka:dev: runs an in-memory Kafka for development. Runs the embedded broker until Ctrl-C or SIGTERM. */
#[AsCommand('realtime:kafka:dev', 'Run the embedded development broker until Ctrl-C')]
final class DevCommand extends Command
{
    protected function configure(): void
    {
        $value = InputOption::VALUE_REQUIRED;
        RunOptions::define($this);
        $this
            ->addOption('host', null, $value, 'Address to listen on and to advertise to clients', '127.0.0.1')
            ->addOption('port', null, $value, 'Port to listen on (0: any free port)', '9092')
            ->addOption(
                'topic',
                null,
                $value | InputOption::VALUE_IS_ARRAY,
                'Create a topic: name or name:partitions. Other topics are created on first use'
            )
            ->setHelp(
                <<<'HELP'
                Keeps everything in memory, at most the last 5 MB per partition; all data is lost when it stops. It has
                no time index (--from=<time> reads no old records), and a consumer that rejoins a group waits until its
                previous session expires: session.timeout.ms in consumer_config, 45 s by default. For development and
                tests only.

                  <info>%command.full_name% --topic=realtime_user_1:4</info>
                  <info>KAFKA_BROKERS=127.0.0.1:9092 php app.php</info>
                HELP
            );
    }

    protected function execute(InputInterface $input, OutputInterface $output): int
    {
        $host = (string) OptionValue::text('--host', $input->getOption('host'));
        $port = OptionValue::int('--port', $input->getOption('port'), 0, 65535);
        $topics = OptionValue::topics($input->getOption('topic'));
        $broker = EmbeddedBroker::start($port, $host);
        foreach ($topics as $topic => $partitions) {
            $broker->createTopic((string) $topic, $partitions);
            $this->write($output, ["  topic $topic with $partitions partition(s)"]);
        }
        $address = $broker->address();
        // Without pcntl a signal ends the process immediately, which stops the broker as well.
        $stop = new StopFlag();
        $this->write($output, [
            "The embedded broker listens on $address, in memory. Press Ctrl-C to stop.",
            "  In another terminal: export KAFKA_BROKERS=$address",
        ]);
        RunOptions::start($input->getOptions(), fn (string $type, string $text) => $this->write($output, ["  $text"]));
        while (!$stop->isSet()) {
            Metrics::beat();
            $stop->sleep(0.2);
        }
        $stop->release();
        $broker->stop();
        $this->write($output, ['Stopped.']);

        return self::DONE;
    }
}
