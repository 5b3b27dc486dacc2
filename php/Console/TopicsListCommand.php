<?php

declare(strict_types=1);

namespace Toporia\Realtime\Console;

use Symfony\Component\Console\Attribute\AsCommand;
use Symfony\Component\Console\Input\InputArgument;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Input\InputOption;
use Symfony\Component\Console\Output\OutputInterface;
use Toporia\Realtime\Admin;
use Toporia\Realtime\Diagnostics\Difference;
use Toporia\Realtime\Diagnostics\TopicPlan;
use Toporia\Realtime\Diagnostics\TopicState;
use Toporia\Realtime\Diagnostics\TopicTable;
use Toporia\Realtime\Support\Pattern;
use Toporia\Realtime\Worker\OptionValue;
use Toporia\Realtime\Worker\Terminal;
use Toporia\Realtime\Worker\Text;
use Toporia\Realtime\Worker\UsageError;

/**
 * realtime:topics:list: lists the topics of this application, or all topics. As realtime:topics it also compares them
 * with the configuration.
 */
#[AsCommand('realtime:topics:list', 'List the topics of this application')]
class TopicsListCommand extends TopicCommand
{
    private const SUBCOMMANDS = ['list', 'compare', 'create', 'describe'];
    /** True: also compares the topics with the configuration. */
    protected const COMPARES = false;

    protected function configure(): void
    {
        $this
            ->addArgument('pattern', InputArgument::OPTIONAL, 'Only topics matching a name or pattern: shop.user, '
                . 'shop.*, shop.**')
            ->addBroker()
            ->addMaxChannels()
            ->addOption('all', null, InputOption::VALUE_NONE, 'List all topics except Kafka\'s internal ones')
            ->addOption('limit', null, InputOption::VALUE_REQUIRED, 'Maximum topics shown (0: all) [default: 50; '
                . '--json: 0]')
            ->setHelp(
                <<<'HELP'
                  <info>%command.full_name%</info>
                  <info>%command.full_name% --all</info>
                  <info>%command.full_name% 'dlq.**'</info>

                Topics of this application are: topic_mapping and default_topic, topics that begin with topic_prefix,
                and their dead-letter topics. RECORDS is the maximum number of records they hold now.

                  realtime:topics:describe <topic>   show one topic in full
                  realtime:topics:compare            show differences from the configuration, with remedies
                  realtime:topics:create             create missing topics

                Exit codes: 0 done, 1 Kafka is unreachable, 2 wrong usage.
                HELP
            );
    }

    protected function execute(InputInterface $input, OutputInterface $output): int
    {
        $json = (bool) $input->getOption('json');
        $limit = OptionValue::int('--limit', $input->getOption('limit') ?? ($json ? 0 : 50), 0);
        $pattern = OptionValue::text('<pattern>', $input->getArgument('pattern'));
        $all = $input->getOption('all') || $pattern !== null;

        return $this->withKafka(
            $input,
            function (Admin $admin, TopicPlan $plan) use ($input, $output, $json, $limit, $pattern, $all): int {
                $topics = TopicState::all($admin->topics());
                $wanted = array_values(array_filter(
                    $topics,
                    static fn (TopicState $topic): bool => ($all || $plan->kind($topic->name) !== null)
                        && ($pattern === null || Pattern::matches($pattern, $topic->name))
                ));
                if ($wanted === [] && $pattern !== null && in_array($pattern, self::SUBCOMMANDS, true)) {
                    throw new UsageError(
                        "No topic is named '$pattern', and {$this->getName()} takes the pattern of a topic. "
                        . "Did you mean realtime:topics:$pattern?"
                    );
                }
                $shown = $limit === 0 ? $wanted : array_slice($wanted, 0, $limit);
                $table = new TopicTable($plan, self::spans($admin, $shown));
                $found = static::COMPARES ? $this->compare($input, $admin, $plan, $topics) : [];
                $json ? $this->json($output, $table, $shown, $found)
                    : $this->text($output, $admin, $plan, $table, $shown, count($wanted), $found, $pattern);

                return self::DONE;
            }
        );
    }

    /**
     * @param list<TopicState> $shown
     * @param list<Difference> $found
     */
    private function json(OutputInterface $output, TopicTable $table, array $shown, array $found): void
    {
        if (!static::COMPARES) {
            foreach ($shown as $topic) {
                $this->writeJson($output, $table->toArray($topic));
            }

            return;
        }
        $this->writeJson($output, [
            'topics' => array_map($table->toArray(...), $shown),
            'differences' => array_map(static fn (Difference $one): array => $one->toArray(), $found),
        ]);
    }

    /**
     * @param list<TopicState> $shown
     * @param list<Difference> $found
     */
    private function text(
        OutputInterface $output,
        Admin $admin,
        TopicPlan $plan,
        TopicTable $table,
        array $shown,
        int $count,
        array $found,
        ?string $pattern
    ): void {
        $kafka = $admin->configuration()['brokers'];
        $none = $pattern === null ? 'no topics' : Text::printable("no topic matches '$pattern'");
        $this->write($output, [
            "$kafka: " . ($count === 0 ? $none : Text::count($count, 'topic'))
                . " (topic_prefix {$plan->settings['topic_prefix']}, {$plan->settings['topic_strategy']})"
                . ($count > count($shown) ? ', the first ' . count($shown) . ' shown (--limit=0 shows all)' : ''),
            ...($shown === [] ? [] : ['', ...$table->lines($shown, (new Terminal($output))->width())]),
        ]);
        if (!static::COMPARES || $count === 0 && $pattern !== null) {
            return;
        }
        $this->write($output, [
            '',
            $found === [] ? 'Topics match the configuration.' : Text::count(count($found), 'difference')
                . ' from the configuration:',
            ...self::differenceLines($found),
        ]);
    }
}
