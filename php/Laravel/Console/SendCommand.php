<?php

declare(strict_types=1);

namespace Toporia\Realtime\Laravel\Console;

use Symfony\Component\Console\Attribute\AsCommand;
use Symfony\Component\Console\Input\InputArgument;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Input\InputOption;
use Symfony\Component\Console\Output\OutputInterface;
use Toporia\Realtime\Console\Command;
use Toporia\Realtime\Console\Host;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Worker\OptionValue;

/**
 * kafka:send: sends a text to the raw topic. Sends the bytes unchanged, without channel and envelope: for topics that
 * other consumers read too.
 */
#[AsCommand(name: self::NAME)]
final class SendCommand extends Command
{
    public const NAME = 'kafka:send';
    private const FLUSH_MS = 10000;

    public function __construct(private Host $host)
    {
        parent::__construct(self::NAME);
    }

    protected function configure(): void
    {
        $this
            ->setDescription('Send a raw message to the topic KAFKA_TOPIC')
            ->addArgument('message', InputArgument::REQUIRED, 'The text to send')
            ->addOption('topic', null, InputOption::VALUE_REQUIRED, 'Topic (default: KAFKA_TOPIC)')
            ->addOption('key', null, InputOption::VALUE_REQUIRED, 'Record key');
    }

    protected function execute(InputInterface $input, OutputInterface $output): int
    {
        $topic = RawTopic::topic($this->host->config(), $input->getOption('topic'));
        $key = OptionValue::text('--key', $input->getOption('key'));
        Realtime::broker()->send($topic, (string) $input->getArgument('message'), $key);
        Realtime::flush(self::FLUSH_MS);
        $output->writeln("Sent to $topic.", OutputInterface::OUTPUT_RAW);

        return self::DONE;
    }
}
