<?php

declare(strict_types=1);

namespace Toporia\Realtime\Laravel\Console;

use Symfony\Component\Console\Attribute\AsCommand;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Input\InputOption;
use Symfony\Component\Console\Output\OutputInterface;
use Toporia\Realtime\Broker;
use Toporia\Realtime\Console\Command;
use Toporia\Realtime\Support\StopFlag;
use Toporia\Realtime\Worker\OptionValue;
use Toporia\Realtime\Worker\Text;

/**
 * kafka:consume: prints the records of the raw topic, acknowledging each one explicitly. Stops on Ctrl-C and SIGTERM
 * after the current record.
 */
#[AsCommand(self::NAME, 'Print the messages of the topic KAFKA_TOPIC, in the group KAFKA_GROUP')]
final class ReceiveCommand extends Command
{
    public const NAME = 'kafka:consume';

    protected function configure(): void
    {
        $this
            ->addOption('topic', null, InputOption::VALUE_REQUIRED, 'Topic (default: KAFKA_TOPIC)')
            ->addOption('group', null, InputOption::VALUE_REQUIRED, 'Consumer group (default: KAFKA_GROUP)')
            ->addOption('max-messages', null, InputOption::VALUE_REQUIRED, 'Stop after N messages (0: no limit)', '0');
    }

    protected function execute(InputInterface $input, OutputInterface $output): int
    {
        $config = $this->host->config();
        $topic = SendCommand::topic($config, $input->getOption('topic'));
        $group = OptionValue::text('--group', $input->getOption('group'));
        $group ??= trim((string) ($config['raw']['group'] ?? '')) ?: 'laravel';
        $limit = OptionValue::int('--max-messages', $input->getOption('max-messages'), 0);
        $broker = new Broker(['consumer_group' => $group]);
        $broker->subscribeTopic($topic);
        $this->write($output, "Waiting for messages of $topic in the group $group. Ctrl-C stops.");
        $stop = new StopFlag();
        try {
            for ($count = 0; !$stop->isSet() && ($limit === 0 || $count < $limit);) {
                $message = $broker->poll(500);
                if ($message !== null) {
                    $this->write($output, Text::printable((string) $message->getPayload()));
                    $broker->ack($message);
                    $count++;
                }
            }
        } finally {
            $stop->release();
            // Commits the acknowledged records.
            $broker->close();
        }

        return self::DONE;
    }
}
