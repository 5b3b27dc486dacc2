<?php

declare(strict_types=1);

namespace Toporia\Realtime\Laravel\Console;

use Symfony\Component\Console\Attribute\AsCommand;
use Symfony\Component\Console\Input\InputArgument;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Input\InputOption;
use Symfony\Component\Console\Output\OutputInterface;
use Toporia\Realtime\Console\Command;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Worker\OptionValue;
use Toporia\Realtime\Worker\UsageError;

/**
 * kafka:send: sends a text to the raw topic. Sends the bytes unchanged, without channel and envelope: for topics that
 * other consumers read too.
 */
#[AsCommand(self::NAME, 'Send a raw message to the topic KAFKA_TOPIC')]
final class SendCommand extends Command
{
    public const NAME = 'kafka:send';
    private const FLUSH_MS = 10000;

    protected function configure(): void
    {
        $this
            ->addArgument('message', InputArgument::REQUIRED, 'The text to send')
            ->addOption('topic', null, InputOption::VALUE_REQUIRED, 'Topic (default: KAFKA_TOPIC)')
            ->addOption('key', null, InputOption::VALUE_REQUIRED, 'Record key');
    }

    protected function execute(InputInterface $input, OutputInterface $output): int
    {
        $topic = self::topic($this->host->config(), $input->getOption('topic'));
        $key = OptionValue::text('--key', $input->getOption('key'));
        Realtime::broker()->send($topic, (string) $input->getArgument('message'), $key);
        Realtime::flush(self::FLUSH_MS);
        $this->write($output, "Sent to $topic.");

        return self::DONE;
    }

    /**
     * The raw topic of --topic, else of `realtime.raw`.
     *
     * @param array<string, mixed> $config
     *
     * @throws UsageError no topic is configured
     */
    public static function topic(array $config, mixed $option): string
    {
        $topic = OptionValue::text('--topic', $option) ?? trim((string) ($config['raw']['topic'] ?? ''));

        return $topic !== '' ? $topic : throw new UsageError(
            'No topic is set. Set KAFKA_TOPIC in .env (realtime.raw.topic; re-run php artisan config:cache if cached), '
            . 'or use --topic=orders.'
        );
    }
}
