<?php

/**
 * What the four dead-letter commands share: the broker, its letters, and asking before something is done.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Console;

use Closure;
use Symfony\Component\Console\Formatter\OutputFormatter;
use Symfony\Component\Console\Helper\QuestionHelper;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Input\InputOption;
use Symfony\Component\Console\Input\StreamableInputInterface;
use Symfony\Component\Console\Output\OutputInterface;
use Symfony\Component\Console\Question\ConfirmationQuestion;
use Symfony\Component\Console\Terminal as SymfonyTerminal;
use Toporia\Realtime\Dlq\AdminCluster;
use Toporia\Realtime\Dlq\Cluster;
use Toporia\Realtime\Dlq\Letters;
use Toporia\Realtime\Dlq\TopicNames;
use Toporia\Realtime\Worker\OptionValue;
use Toporia\Realtime\Worker\Text;
use Toporia\Realtime\Worker\UsageError;

/**
 * A subclass reads its options first, then works on what letters() gives it.
 */
abstract class DlqCommand extends Command
{
    /**
     * @param (Closure(string): Cluster)|null $connect makes the Kafka of a broker name; null: the configured one
     */
    public function __construct(string $name, private Host $host, private ?Closure $connect = null)
    {
        parent::__construct($name);
    }

    /**
     * The options that choose letters, as far as a command has them.
     */
    protected function addSelection(string ...$options): static
    {
        $descriptions = [
            'topic' => 'Only of this topic: the original or the dead-letter topic, a channel, or a pattern of one',
            'class' => 'Only with this exception: its class, or the last part of its name',
            'since' => 'Only what failed then or later: 15m, 2h, 7d (ago), an ISO 8601 time or Unix seconds',
            'before' => 'Only what failed earlier: 15m, 2h, 7d (ago), an ISO 8601 time or Unix seconds',
            'group' => 'Only what failed in this consumer group',
        ];
        $this->addOption('broker', null, InputOption::VALUE_REQUIRED, 'Broker name in the configuration', 'kafka');
        foreach ($options as $option) {
            $this->addOption($option, null, InputOption::VALUE_REQUIRED, $descriptions[$option]);
        }

        return $this;
    }

    protected function addConfirmation(): static
    {
        return $this
            ->addOption('dry-run', null, InputOption::VALUE_NONE, 'Only say what would be done')
            ->addOption('yes', 'y', InputOption::VALUE_NONE, 'Do not ask');
    }

    /**
     * The names of the chosen broker's dead-letter topics.
     *
     * @throws UsageError an empty --broker
     */
    protected function names(InputInterface $input): TopicNames
    {
        return TopicNames::configured($this->host->config(), $this->brokerName($input));
    }

    /**
     * Calls with the letters of the chosen broker, and closes the connection; says so where there are none at all.
     *
     * @param Closure(Letters, Cluster): int $work returns the exit code
     */
    protected function withLetters(InputInterface $input, OutputInterface $output, TopicNames $names, Closure $work): int
    {
        $broker = $this->brokerName($input);
        $cluster = $this->connect === null ? new AdminCluster($broker) : ($this->connect)($broker);
        try {
            $letters = new Letters($cluster, $names);
            if ($letters->topics() === []) {
                $this->errors($output)->writeln(
                    'There are no dead letters: Kafka has no topic ' . $names->deadLetters('…') . ' here.',
                    OutputInterface::OUTPUT_RAW
                );

                return self::DONE;
            }

            return $work($letters, $cluster);
        } finally {
            $cluster->close();
        }
    }

    /**
     * Refuses to go on where nobody can be asked.
     *
     * @throws UsageError neither a terminal nor --yes nor --dry-run
     */
    protected function requireConfirmation(InputInterface $input): void
    {
        if ($input->getOption('yes') || $input->getOption('dry-run')) {
            return;
        }
        $stream = $input instanceof StreamableInputInterface ? $input->getStream() : null;
        if (!$input->isInteractive() || $stream === null && !(defined('STDIN') && stream_isatty(STDIN))) {
            throw new UsageError(
                'This asks before it does anything, and here is no terminal to ask on. Give --yes to do it without '
                . 'asking, or --dry-run to see what it would do.'
            );
        }
    }

    /**
     * Asks; only an explicit yes counts.
     */
    protected function confirm(InputInterface $input, OutputInterface $output, string $question): bool
    {
        if ($input->getOption('yes')) {
            return true;
        }
        $question = OutputFormatter::escape($question) . ' [y/N] ';

        return (bool) (new QuestionHelper())->ask($input, $output, new ConfirmationQuestion($question, false));
    }

    /**
     * @param iterable<string> $lines
     */
    protected function write(OutputInterface $output, iterable $lines): void
    {
        foreach ($lines as $line) {
            $output->writeln($line, OutputInterface::OUTPUT_RAW);
        }
    }

    /**
     * One JSON object on a line.
     *
     * @param array<string, mixed> $object
     */
    protected function writeJson(OutputInterface $output, array $object): void
    {
        $flags = JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE | JSON_INVALID_UTF8_SUBSTITUTE | JSON_THROW_ON_ERROR;
        $output->writeln(json_encode($object, $flags, Text::DEPTH), OutputInterface::OUTPUT_RAW);
    }

    /**
     * The first reasons why something could not be done.
     *
     * @param array<string, string> $reasons by handle
     */
    protected function writeReasons(OutputInterface $output, string $heading, array $reasons): void
    {
        if ($reasons === []) {
            return;
        }
        $errors = $this->errors($output);
        $this->write($errors, [$heading]);
        foreach (array_slice($reasons, 0, 20) as $letterId => $why) {
            $this->write($errors, ['  ' . Text::printable("$letterId: $why")]);
        }
        if (count($reasons) > 20) {
            $this->write($errors, ['  … and ' . Text::number(count($reasons) - 20) . ' more']);
        }
    }

    /**
     * Characters of a line that a terminal shows without wrapping it; 0: nobody watches, so no limit.
     */
    protected function width(OutputInterface $output): int
    {
        return (new OutputTerminal($output))->isInteractive() ? (new SymfonyTerminal())->getWidth() : 0;
    }

    private function brokerName(InputInterface $input): string
    {
        return (string) OptionValue::text('--broker', $input->getOption('broker'));
    }
}
