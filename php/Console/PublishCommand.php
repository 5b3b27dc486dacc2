<?php

declare(strict_types=1);

namespace Toporia\Realtime\Console;

use Symfony\Component\Console\Attribute\AsCommand;
use Symfony\Component\Console\Input\InputArgument;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Input\InputOption;
use Symfony\Component\Console\Input\StreamableInputInterface;
use Symfony\Component\Console\Output\OutputInterface;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Worker\EventPublisher;
use Toporia\Realtime\Worker\OptionValue;
use Toporia\Realtime\Worker\UsageError;

/**
 * realtime:kafka:publish: sends events from the shell. Sends one event with the JSON argument as data, or one event per
 * line of standard input.
 */
#[AsCommand('realtime:kafka:publish', 'Send an event to a channel, or one per line of standard input')]
final class PublishCommand extends Command
{
    private const FLUSH_MS = 10000;

    protected function configure(): void
    {
        $value = InputOption::VALUE_REQUIRED;
        $this
            ->addArgument('channel', InputArgument::REQUIRED, 'The channel, such as user.1')
            ->addArgument('event', InputArgument::REQUIRED, 'The event, such as order.created')
            ->addArgument('json', InputArgument::OPTIONAL, 'Data as JSON; - reads one JSON value per line from '
                . 'standard input')
            ->addOption('broker', null, $value, 'Broker name in the configuration', 'kafka')
            ->addOption('key', null, $value, 'Record key (default: the channel)')
            ->addOption('header', null, $value | InputOption::VALUE_IS_ARRAY, 'Record header as name:value; repeatable')
            ->setHelp(
                <<<'HELP'
                  <info>%command.full_name% user.1 order.created '{"id":7}'</info>
                  <info>%command.full_name% user.1 order.created < orders.jsonl</info>

                Without the JSON argument, lines are read if standard input is a file or a pipe; on a terminal (or
                /dev/null) one event without data is sent. Invalid lines are reported with their number; the others are
                sent. Prints the id of each event and waits until Kafka has acknowledged them all.

                Exit codes: 0 all delivered, 1 some events were not, 2 wrong usage.
                HELP
            );
    }

    protected function execute(InputInterface $input, OutputInterface $output): int
    {
        $this->host->config();
        // Validate all input before connecting: wrong usage is reported first.
        $broker = (string) OptionValue::text('--broker', $input->getOption('broker'));
        $key = OptionValue::text('--key', $input->getOption('key'));
        $headers = OptionValue::headers($input->getOption('header'));
        if (trim((string) $input->getArgument('event')) === '') {
            throw new UsageError('The event name is required, such as order.created.');
        }
        $publisher = new EventPublisher(
            $this->broker($broker),
            (string) $input->getArgument('channel'),
            (string) $input->getArgument('event'),
            $key,
            $headers,
            static fn () => Realtime::flush(self::FLUSH_MS)
        );
        $id = fn (string $id) => $this->write($output, $id);
        $json = $input->getArgument('json');
        $lines = $json === null || $json === '-' ? $this->lines($input, $json === '-') : null;
        if ($lines === null) {
            $id($publisher->send($json));
            Realtime::flush(self::FLUSH_MS);

            return self::DONE;
        }
        $errors = $this->errors($output);
        $error = fn (string $error) => $this->write($errors, "Error: $error");
        $invalid = $publisher->sendLines($lines, $id, $error);
        Realtime::flush(self::FLUSH_MS);
        if ($publisher->sent === 0 && $invalid === 0) {
            $this->write($errors, 'Nothing was sent: standard input was empty.');
        }

        return $invalid === 0 ? self::DONE : self::FAILED;
    }

    /**
     * The stream to read lines from; null if standard input has none and it was not requested.
     *
     * @return resource|null
     */
    private function lines(InputInterface $input, bool $isRequested): mixed
    {
        $stream = $input instanceof StreamableInputInterface ? $input->getStream() : null;
        if ($stream !== null) {
            return $stream;
        }
        $stream = defined('STDIN') ? STDIN : fopen('php://stdin', 'r');
        if ($stream === false) {
            return null;
        }
        // A pipe, a file or a socket holds input for this command.
        $kind = (fstat($stream)['mode'] ?? 0) & 0170000;

        return $isRequested || in_array($kind, [0010000, 0100000, 0140000], true) ? $stream : null;
    }
}
