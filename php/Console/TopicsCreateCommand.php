<?php

/**
 * realtime:topics:create: creates missing topics of the configuration, or the named ones.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Console;

use Symfony\Component\Console\Input\InputArgument;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Input\InputOption;
use Symfony\Component\Console\Output\OutputInterface;
use Toporia\Realtime\Admin;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\InvalidChannelException;
use Toporia\Realtime\Exception\RealtimeException;
use Toporia\Realtime\Ops\Retention;
use Toporia\Realtime\Ops\TopicPlan;
use Toporia\Realtime\Ops\TopicState;
use Toporia\Realtime\Ops\WantedTopic;
use Toporia\Realtime\Worker\OptionValue;
use Toporia\Realtime\Worker\Text;
use Toporia\Realtime\Worker\UsageError;

/**
 * Existing topics are left unchanged; --grow adds missing partitions.
 */
final class TopicsCreateCommand extends TopicCommand
{
    public function __construct(Host $host)
    {
        parent::__construct('realtime:topics:create', $host);
    }

    protected function configure(): void
    {
        $value = InputOption::VALUE_REQUIRED;
        $this
            ->setDescription('Creates the topics of topic_mapping that are missing, or the named ones')
            ->addArgument('topics', InputArgument::IS_ARRAY, 'Their names [default: those of topic_mapping, default_topic]')
            ->addBroker()
            ->addOption('partitions', null, $value, 'Partitions, instead of what topic_mapping says')
            ->addOption('replication', null, $value, 'Copies of each partition, instead of what topic_mapping says')
            ->addOption('retention', null, $value, 'How long records are kept (7d, 12h, -1: for ever), instead of it')
            ->addOption('grow', null, InputOption::VALUE_NONE, 'Give topics that exist the partitions they lack')
            ->addOption('dry-run', null, InputOption::VALUE_NONE, 'Only say what would be done')
            ->setHelp(
                <<<'HELP'
                  <info>%command.full_name% --dry-run</info>
                  <info>%command.full_name%</info>
                  <info>%command.full_name% realtime.audit --partitions=3 --retention=30d</info>
                  <info>%command.full_name% realtime.user --grow</info>

                What nothing says is left to the brokers; partitions are default_partitions, else 1. With more
                partitions the records of a key may go to another one: grow a topic when it is read to its end.

                Exit codes: 0 done (also what exists already), 1 Kafka refuses one or cannot be asked, 2 wrong usage.
                HELP
            );
    }

    protected function execute(InputInterface $input, OutputInterface $output): int
    {
        $names = array_map(
            static fn (mixed $name): string => (string) OptionValue::text('<topics>', $name),
            (array) $input->getArgument('topics')
        );
        $partitions = self::number('--partitions', $input, 100_000);
        $replication = self::number('--replication', $input, 32_767);
        $retention = Retention::parse($input->getOption('retention'));
        if ($names === [] && ($partitions ?? $replication ?? $retention) !== null) {
            throw new UsageError('--partitions, --replication and --retention are for named topics: name one.');
        }

        return $this->withKafka($input, function (
            Admin $admin,
            TopicPlan $plan
        ) use (
            $input,
            $output,
            $names,
            $partitions,
            $replication,
            $retention
        ): int {
            $wanted = [];
            foreach ($names === [] ? array_map('strval', array_keys($plan->wanted)) : $names as $name) {
                $known = $plan->wanted[$name] ?? new WantedTopic($name, [], $plan->defaultPartitions());
                $wanted[$name] = $known->changed($partitions, $replication, $retention);
            }
            if ($wanted === []) {
                $this->write($output, [
                    "Nothing to create: with topic_strategy {$plan->strategy()} topics come with their channels. Name "
                    . 'one to create it now.',
                ]);

                return self::DONE;
            }

            return $this->create($input, $output, $admin, $wanted);
        });
    }

    /** @param array<string, WantedTopic> $wanted */
    private function create(InputInterface $input, OutputInterface $output, Admin $admin, array $wanted): int
    {
        $topics = TopicState::all($admin->topics());
        $brokers = count($admin->cluster()['brokers']);
        $code = self::DONE;
        foreach ($wanted as $topic) {
            [$result, $description] = $this->createOne($input, $admin, $topic, $topics[$topic->topic] ?? null, $brokers);
            $code = $result === 'failed' ? self::FAILED : $code;
            if ($input->getOption('json')) {
                $this->writeJson($output, [
                    'topic' => $topic->topic,
                    'result' => $result,
                    'partitions' => $topic->partitions ?? 1,
                    'replication' => $topic->replication,
                    'retention_ms' => $topic->retention,
                    'words' => $description,
                ]);
            } else {
                $to = $result === 'failed' ? $this->errors($output) : $output;
                $this->write($to, [Text::printable("$topic->topic: $description")]);
            }
        }

        return $code;
    }

    /**
     * @return array{'created'|'grown'|'exists'|'failed'|'dry run', string} the result, and a sentence
     */
    private function createOne(
        InputInterface $input,
        Admin $admin,
        WantedTopic $topic,
        ?TopicState $state,
        int $brokers
    ): array {
        $dry = (bool) $input->getOption('dry-run');
        if ($state !== null) {
            $has = count($state->partitions);
            $lacks = ($topic->partitions ?? $has) - $has;
            if ($lacks <= 0 || !$input->getOption('grow')) {
                $hint = $lacks > 0 ? " It has $has of $topic->partitions partitions: --grow adds the others." : '';

                return ['exists', "exists, and stays as it is.$hint"];
            }
            $description = "from $has to $topic->partitions partitions";
            if ($dry) {
                return ['dry run', "would grow $description."];
            }

            return self::attempt(
                'grown',
                "grown $description.",
                static fn () => $admin->createPartitions($topic->topic, (int) $topic->partitions)
            );
        }
        if ($topic->replication > $brokers) {
            return ['failed', "cannot have $topic->replication copies: " . Text::count($brokers, 'broker')
                . ' there. Lower replication, or add brokers.'];
        }
        if ($dry) {
            return ['dry run', "would be created: {$topic->describe()}."];
        }
        $settings = $topic->retention === null ? [] : ['retention.ms' => $topic->retention];

        return self::attempt('created', "created: {$topic->describe()}.", static fn () => $admin->createTopic(
            $topic->topic,
            $topic->partitions ?? 1,
            $topic->replication ?? -1,
            $settings
        ));
    }

    /**
     * Runs one change; a rejected topic does not keep the others from being created.
     *
     * @param callable(): mixed $do
     *
     * @return array{'created'|'grown'|'failed', string}
     *
     * @throws RealtimeException Kafka does not respond
     */
    private static function attempt(string $result, string $description, callable $do): array
    {
        try {
            $do();
        } catch (ConfigurationException | InvalidChannelException $e) {
            return ['failed', $e->getMessage()];
        }

        return [$result, $description];
    }

    private static function number(string $option, InputInterface $input, int $max): ?int
    {
        $given = $input->getOption(substr($option, 2));

        return $given === null ? null : OptionValue::int($option, $given, 1, $max);
    }
}
