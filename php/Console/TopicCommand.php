<?php

declare(strict_types=1);

namespace Toporia\Realtime\Console;

use Closure;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Input\InputOption;
use Toporia\Realtime\Admin;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\UnknownTopicException;
use Toporia\Realtime\Diagnostics\Comparison;
use Toporia\Realtime\Diagnostics\Difference;
use Toporia\Realtime\Diagnostics\TopicPlan;
use Toporia\Realtime\Diagnostics\TopicState;
use Toporia\Realtime\Worker\OptionValue;
use Toporia\Realtime\Worker\Text;
use Toporia\Realtime\Worker\UsageError;

/**
 * Base class of the topic commands: the cluster, the configured topics, and their comparison. A subclass reads its
 * options first, then works in withKafka().
 */
abstract class TopicCommand extends Command
{
    /** Topics per request for offsets. */
    private const BATCH_SIZE = 500;

    protected function addBroker(): static
    {
        return $this
            ->addOption('broker', null, InputOption::VALUE_REQUIRED, 'Broker name in the configuration', 'kafka')
            ->addOption('json', null, InputOption::VALUE_NONE, 'Print JSON');
    }

    protected function addMaxChannels(): static
    {
        return $this->addOption(
            'max-channels',
            null,
            InputOption::VALUE_REQUIRED,
            'Warn if one topic per channel leads to more than N topics',
            (string) Comparison::MAX_CHANNELS
        );
    }

    /**
     * Calls the closure with the cluster and the configured topics, then closes the connection.
     *
     * @param Closure(Admin, TopicPlan): int $work returns the exit code
     *
     * @throws UsageError an empty --broker
     */
    protected function withKafka(InputInterface $input, Closure $work): int
    {
        $this->host->config();
        $admin = new Admin(['broker' => (string) OptionValue::text('--broker', $input->getOption('broker'))]);
        try {
            return $work($admin, new TopicPlan($admin->configuration()));
        } finally {
            $admin->close();
        }
    }

    /**
     * Compares the topics with the configuration.
     *
     * @param array<string, TopicState> $topics all topics of the cluster
     *
     * @return list<Difference>
     */
    protected function compare(InputInterface $input, Admin $admin, TopicPlan $plan, array $topics): array
    {
        $most = OptionValue::int('--max-channels', $input->getOption('max-channels'), 0);
        $settings = static function (string $topic) use ($admin): ?array {
            try {
                return $admin->topicConfig($topic);
            } catch (ConfigurationException | UnknownTopicException) {
                // The embedded broker has no topic settings; or the topic was deleted just now.
                return null;
            }
        };
        $brokers = count($admin->cluster()['brokers']);

        $hidden = self::hidden($admin, array_diff(array_keys($plan->wanted), array_keys($topics)));

        return (new Comparison($plan, $topics, $settings, $brokers, $most, $hidden))->differences();
    }

    /**
     * Topics hidden from this user by ACLs; all others do not exist.
     *
     * @param array<int, int|string> $topics
     *
     * @return list<string>
     */
    private static function hidden(Admin $admin, array $topics): array
    {
        if ($topics === []) {
            return [];
        }
        try {
            $allowed = $admin->operations(array_map('strval', array_values($topics)));
        } catch (ConfigurationException) {
            // The embedded broker has no ACLs.
            return [];
        }

        return array_map('strval', array_keys($allowed, [], true));
    }

    /**
     * The offset ranges of topics.
     *
     * @param list<TopicState> $topics
     *
     * @return array<string, array{error: ?string, partitions: array<int, array{beginning: int, end: int}>}>
     */
    protected static function spans(Admin $admin, array $topics): array
    {
        $spans = [];
        foreach (array_chunk(array_column($topics, 'name'), self::BATCH_SIZE) as $some) {
            $spans += $admin->offsetsOfTopics($some);
        }

        return $spans;
    }

    /**
     * @param list<Difference> $differences
     *
     * @return list<string> two lines per difference
     */
    protected static function differenceLines(array $differences): array
    {
        $lines = [];
        foreach ($differences as $one) {
            $mark = str_pad([Difference::WRONG => 'WRONG', Difference::WARNING => 'WARN'][$one->level] ?? 'note', 5);
            $lines[] = Text::printable("  $mark  " . ($one->topic === null ? '' : "$one->topic ") . $one->what);
            $lines[] = Text::printable("         -> $one->remedy");
        }

        return $lines;
    }
}
