<?php

declare(strict_types=1);

namespace Toporia\Realtime\Console;

use Symfony\Component\Console\Attribute\AsCommand;
use Symfony\Component\Console\Input\InputArgument;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Input\InputOption;
use Symfony\Component\Console\Output\OutputInterface;
use Toporia\Realtime\Admin;
use Toporia\Realtime\Diagnostics\TopicPlan;
use Toporia\Realtime\Diagnostics\TopicState;
use Toporia\Realtime\Diagnostics\WantedTopic;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\InvalidChannelException;
use Toporia\Realtime\Exception\RealtimeException;
use Toporia\Realtime\Worker\OptionValue;
use Toporia\Realtime\Worker\Text;
use Toporia\Realtime\Worker\UsageError;

/**
 * realtime:topics:create: creates missing topics of the configuration, or the named ones. Existing topics are left
 * unchanged; --grow adds missing partitions.
 */
#[AsCommand('realtime:topics:create', 'Create the missing topics of topic_mapping, or the named topics')]
final class TopicsCreateCommand extends TopicCommand
{
    protected function configure(): void
    {
        $value = InputOption::VALUE_REQUIRED;
        $this
            ->addArgument('topics', InputArgument::IS_ARRAY, 'Topic names [default: topic_mapping and default_topic]')
            ->addBroker()
            ->addOption('partitions', null, $value, 'Number of partitions, overriding topic_mapping')
            ->addOption('replication', null, $value, 'Replication factor, overriding topic_mapping')
            ->addOption('retention', null, $value, 'Retention time (7d, 12h, -1: unlimited), overriding topic_mapping')
            ->addOption('grow', null, InputOption::VALUE_NONE, 'Add missing partitions to existing topics')
            ->addOption('dry-run', null, InputOption::VALUE_NONE, 'Only show what would be done')
            ->setHelp(
                <<<'HELP'
                  <info>%command.full_name% --dry-run</info>
                  <info>%command.full_name%</info>
                  <info>%command.full_name% realtime.audit --partitions=3 --retention=30d</info>
                  <info>%command.full_name% realtime.user --grow</info>

                Unset values use the brokers' defaults; partitions use default_partitions, else 1. Adding partitions
                may move a key to another partition: grow a topic when its consumers have caught up.

                Exit codes: 0 done (existing topics included), 1 Kafka rejected a topic or is unreachable, 2 wrong
                usage.
                HELP
            );
    }

    protected function execute(InputInterface $input, OutputInterface $output): int
    {
        $names = array_map(
            static fn (mixed $name): string => OptionValue::topic('<topics>', $name),
            (array) $input->getArgument('topics')
        );
        $partitions = OptionValue::optionalInt('--partitions', $input->getOption('partitions'), 1, 100_000);
        $replication = OptionValue::optionalInt('--replication', $input->getOption('replication'), 1, 32_767);
        $retention = OptionValue::retention($input->getOption('retention'));
        if ($names === [] && ($partitions ?? $replication ?? $retention) !== null) {
            throw new UsageError('--partitions, --replication and --retention require topic names.');
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
                $known = $plan->wanted[$name] ?? new WantedTopic($name, [], $plan->settings['default_partitions']);
                $wanted[$name] = $known->changed($partitions, $replication, $retention);
            }
            if ($wanted === []) {
                $this->write($output, [
                    "Nothing to create: with topic_strategy {$plan->settings['topic_strategy']}, topics are created with their "
                        . "channels. Name a topic to create it now.",
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
            $state = $topics[$topic->topic] ?? null;
            [$result, $description] = $this->createOne($input, $admin, $topic, $state, $brokers);
            $code = $result === 'failed' ? self::FAILED : $code;
            if ($input->getOption('json')) {
                $this->writeJson($output, [
                    'topic' => $topic->topic,
                    'result' => $result,
                    'partitions' => $state !== null && $result !== 'grown' ? count($state->partitions)
                        : $topic->partitions ?? 1,
                    'replication' => $state?->replicas() ?? $topic->replication,
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

    /** @return array{'created'|'grown'|'exists'|'failed'|'dry run', string} the result, and a sentence */
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
                $hint = $lacks > 0 ? " It has $has of $topic->partitions partitions; --grow adds the missing ones." : '';

                return ['exists', "already exists; unchanged.$hint"];
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
            return ['failed', "replication factor $topic->replication is not possible with " . Text::count($brokers, 'broker')
                . '. Lower replication, or add brokers.'];
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
}
