<?php

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
use Toporia\Realtime\Dlq\Cluster;
use Toporia\Realtime\Dlq\Letters;
use Toporia\Realtime\Dlq\Ownership;
use Toporia\Realtime\Dlq\TopicNames;
use Toporia\Realtime\Diagnostics\TopicPlan;
use Toporia\Realtime\Worker\OptionValue;
use Toporia\Realtime\Worker\Text;
use Toporia\Realtime\Worker\UsageError;

/**
 * Base class of the dead-letter commands: broker selection, access to the letters, confirmation. A subclass reads its
 * options first, then works inside withLetters().
 */
abstract class DlqCommand extends Command
{
    /** Maximum number of skipped topics that are named. */
    private const SKIPPED_SHOWN = 10;

    private Cluster $cluster;

    /** @param (Closure(string): Cluster)|null $connect connects to the named broker; null: through the extension */
    public function __construct(Host $host, private ?Closure $connect = null)
    {
        parent::__construct($host);
    }

    /** Adds the named selection options. */
    protected function addSelection(string ...$options): static
    {
        $descriptions = [
            'topic' => 'Only this topic: original topic, dead-letter topic, channel, or a pattern',
            'class' => 'Only this exception class, with or without namespace',
            'since' => 'Only failures at or after this time: 15m, 2h, 7d (ago), an ISO 8601 time or Unix seconds',
            'before' => 'Only failures before this time: 15m, 2h, 7d (ago), an ISO 8601 time or Unix seconds',
            'group' => 'Only failures of this consumer group',
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
            ->addOption('dry-run', null, InputOption::VALUE_NONE, 'Only show what would be done')
            ->addOption('yes', 'y', InputOption::VALUE_NONE, 'Skip the confirmation');
    }

    /**
     * The dead-letter topic names of the chosen broker. Does not connect yet.
     *
     * @throws UsageError an empty --broker
     */
    protected function names(InputInterface $input): TopicNames
    {
        $this->host->config();
        $broker = (string) OptionValue::text('--broker', $input->getOption('broker'));
        $this->cluster = $this->connect === null ? new Cluster($broker) : ($this->connect)($broker);

        return new TopicNames($this->cluster->configuration()['dlq_prefix']);
    }

    /**
     * Calls the closure with the letters of the chosen broker, then closes the connection. Reports if there are no
     * dead-letter topics. Letters of other applications are taken only if they or their topics are named in full.
     *
     * @param Closure(Letters, Cluster): int $work returns the exit code
     */
    protected function withLetters(OutputInterface $output, TopicNames $names, Closure $work): int
    {
        $cluster = $this->cluster;
        try {
            $ownership = new Ownership(
                new TopicPlan($cluster->configuration()),
                $names,
                array_map('strval', array_keys($cluster->topics('**')))
            );
            $letters = new Letters($cluster, $names, $ownership);
            if ($letters->topics() === []) {
                $this->write($this->errors($output), [
                    'No dead letters: Kafka has no topic ' . $names->deadLetters('…') . ' here.',
                ]);
            }

            return $work($letters, $cluster);
        } finally {
            $cluster->close();
        }
    }

    /**
     * Names the topics with letters of other applications, which are left alone.
     *
     * @param list<string> $topics
     */
    protected function writeSkipped(OutputInterface $output, Cluster $cluster, array $topics): void
    {
        if ($topics === []) {
            return;
        }
        $more = count($topics) - self::SKIPPED_SHOWN;
        $this->write($this->errors($output), [
            'Only letters of this application (topic_prefix ' . $cluster->configuration()['topic_prefix'] . '). '
            . 'Skipped: ' . implode(', ', array_slice($topics, 0, self::SKIPPED_SHOWN))
            . ($more > 0 ? ' and ' . Text::number($more) . ' more' : '') . '. Their letters are selected by '
            . '--topic with the full name, or by letter id.',
        ]);
    }

    /**
     * Refuses to run if a confirmation is needed and cannot be asked for.
     *
     * @throws UsageError no terminal, and neither --yes nor --dry-run
     */
    protected function requireConfirmation(InputInterface $input): void
    {
        if ($input->getOption('yes') || $input->getOption('dry-run')) {
            return;
        }
        $stream = $input instanceof StreamableInputInterface ? $input->getStream() : null;
        if (!$input->isInteractive() || $stream === null && !(defined('STDIN') && stream_isatty(STDIN))) {
            throw new UsageError(
                'This command asks for confirmation, but there is no terminal. Use --yes to skip the confirmation, or '
                . '--dry-run to see what it would do.'
            );
        }
    }

    /** Asks for confirmation; only an explicit yes counts. */
    protected function confirm(InputInterface $input, OutputInterface $output, string $question): bool
    {
        if ($input->getOption('yes')) {
            return true;
        }
        $question = OutputFormatter::escape($question) . ' [y/N] ';

        return (bool) (new QuestionHelper())->ask($input, $output, new ConfirmationQuestion($question, false));
    }

    /**
     * Writes the first failures with their reasons.
     *
     * @param array<string, string> $reasons by letter id
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
}
