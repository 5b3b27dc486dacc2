<?php

/**
 * Checks that the topics exist, with the configured partitions and replicas.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics\Checks;

use Toporia\Realtime\Diagnostics\Check;
use Toporia\Realtime\Diagnostics\Context;
use Toporia\Realtime\Diagnostics\Finding;
use Toporia\Realtime\Diagnostics\TopicHealth;
use Toporia\Realtime\Exception\RealtimeException;
use Toporia\Realtime\Worker\Text;

/**
 * Problems shared by several topics are merged.
 */
final class TopicsCheck implements Check
{
    /** More topics than this are expensive for Kafka and every client. */
    private const MAX_TOPICS = 1000;
    /** Maximum number of topics to read settings of. */
    private const MAX_CONFIGS_READ = 100;
    /** Stop reading settings after this many refusals. */
    private const MAX_REFUSALS = 5;

    private int $refusals = 0;

    public function name(): string
    {
        return 'topics';
    }

    public function title(): string
    {
        return 'Topics';
    }

    public function needs(): array
    {
        return ['client'];
    }

    public function run(Context $context): iterable
    {
        $existing = $context->topics();
        $topics = $context->consumed();
        $there = array_values(array_filter($topics, static fn (string $topic): bool => isset($existing[$topic])));
        yield from $this->missing($context, array_values(array_diff($topics, $there)));
        $faults = 0;
        $state = new TopicHealth($context->plan()->wanted, count($context->cluster?->brokers ?? []));
        foreach ($there as $i => $topic) {
            $minimum = $i < self::MAX_CONFIGS_READ ? $this->minimum($context, $topic) : null;
            $state->check($existing[$topic], $minimum);
        }
        foreach ($state->findings() as $finding) {
            $faults++;
            yield $finding;
        }
        if (!$context->plan()->isGrouped() && count($there) > self::MAX_TOPICS) {
            $faults++;
            yield Finding::warning(
                'topics',
                Text::number(count($there)) . ' topics, one for each channel: Kafka and all consumers slow down '
                    . 'with each topic',
                'Set topic_strategy (KAFKA_TOPIC_STRATEGY) to \'grouped\', with a topic_mapping.'
            );
        }
        if ($there !== [] && $faults === 0) {
            $partitions = array_sum(array_map(static fn (string $topic): int => count($existing[$topic]->partitions), $there));
            yield Finding::ok(
                'topics',
                Text::names($there) . ': ' . Text::count($partitions, 'partition') . ', all with a leader '
                    . 'and all replicas',
                ['topics' => count($there), 'partitions' => $partitions]
            );
        }
        if ($topics === []) {
            yield Finding::ok(
                'topics',
                'none starts with ' . $context->settings['topic_prefix'] . '_ yet: the topic of a channel is created '
                    . 'with its first message'
            );
        }
    }

    /**
     * @param list<string> $missing
     *
     * @return iterable<Finding>
     */
    private function missing(Context $context, array $missing): iterable
    {
        $creates = $context->settings['auto_create_topics'];
        foreach ($missing as $topic) {
            if (($context->operations[$topic] ?? null) === []) {
                // Hidden from this user, so its existence is unknown; AclCheck has reported it.
                continue;
            }
            $near = Text::nearest($topic, $context->topicNames());
            $create = "realtime:topics:create, or kafka-topics.sh --create --topic $topic";
            if (!$creates) {
                yield Finding::error(
                    "topic $topic",
                    'does not exist, and auto_create_topics is off',
                    "Create it: $create."
                );
            } elseif (isset($context->plan()->wanted[$topic])) {
                yield Finding::ok(
                    "topic $topic",
                    'does not exist yet: the first message creates it with the settings of topic_mapping'
                );
            } else {
                yield Finding::warning(
                    "topic $topic",
                    'does not exist: no message was ever sent to its channel'
                        . ($near === null ? '' : "; there is $near"),
                    'Is the name of the channel the same as in the publisher, and '
                        . 'the prefix ' . $context->settings['topic_prefix']
                        . ' the same there? The first message creates the topic; workers wait for it.'
                );
            }
        }
    }

    private function minimum(Context $context, string $topic): ?int
    {
        if ($context->blocked('admin') !== null || $this->refusals >= self::MAX_REFUSALS) {
            return null;
        }
        $start = microtime(true);
        try {
            $value = $context->admin()->topicConfig($topic)['min.insync.replicas'] ?? null;
        } catch (RealtimeException) {
            // A user may lack permission for settings; do not wait for a timeout per topic.
            $this->refusals += microtime(true) - $start > 1.0 ? self::MAX_REFUSALS : 1;

            return null;
        }

        return is_numeric($value) ? (int) $value : null;
    }
}
