<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics\Checks;

use Toporia\Realtime\Diagnostics\Check;
use Toporia\Realtime\Diagnostics\Comparison;
use Toporia\Realtime\Diagnostics\Context;
use Toporia\Realtime\Diagnostics\Difference;
use Toporia\Realtime\Diagnostics\Finding;
use Toporia\Realtime\Diagnostics\TopicHealth;
use Toporia\Realtime\Exception\RealtimeException;
use Toporia\Realtime\Worker\Text;

/**
 * Checks that the topics exist, as they are configured, with leaders and replicas. Problems shared by several topics
 * are merged.
 */
final class TopicsCheck extends Check
{
    public const NAME = 'topics';
    public const TITLE = 'Topics';
    public const NEEDS = ['client'];
    /** The differences from the configuration that matter here, and their level. */
    private const DIFFERENCES = [
        'collision' => Finding::ERROR, 'missing' => Finding::ERROR, 'disputed' => Finding::WARNING,
        'partitions' => Finding::WARNING, 'replication' => Finding::WARNING, 'retention' => Finding::WARNING,
        'channels' => Finding::WARNING,
    ];
    /** Maximum number of topics to read settings of. */
    private const MAX_CONFIGS_READ = 100;
    /** Stop reading settings after this many refusals. */
    private const MAX_REFUSALS = 5;

    private int $refusals = 0;
    /** @var array<string, array<string, ?string>|null> settings by topic */
    private array $configs = [];

    public function run(Context $context): iterable
    {
        $existing = $context->topics();
        $topics = $context->consumed();
        $there = array_values(array_filter($topics, static fn (string $topic): bool => isset($existing[$topic])));
        yield from $this->missing($context, array_values(array_diff($topics, $there)));
        $faults = 0;
        $health = new TopicHealth(count($context->cluster?->brokers ?? []));
        foreach ($there as $i => $topic) {
            $minimum = $i < self::MAX_CONFIGS_READ ? $this->config($context, $topic)['min.insync.replicas'] ?? null : null;
            $health->check($existing[$topic], is_numeric($minimum) ? (int) $minimum : null);
        }
        foreach ([...$health->findings(), ...$this->differences($context, $topics)] as $finding) {
            $faults++;
            yield $finding;
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
     * The differences that realtime:topics:compare reports, of these topics.
     *
     * @param list<string> $topics
     *
     * @return list<Finding>
     */
    private function differences(Context $context, array $topics): array
    {
        $comparison = new Comparison(
            $context->plan(),
            $context->topics(),
            fn (string $topic): ?array => $this->config($context, $topic),
            count($context->cluster?->brokers ?? []),
            // AclCheck reports them.
            hidden: array_map('strval', array_keys($context->operations, [], true))
        );
        $findings = [];
        foreach ($comparison->differences() as $one) {
            $level = self::DIFFERENCES[$one->kind] ?? null;
            $isNote = $one->level === Difference::NOTE;
            if ($level !== null && !$isNote && ($one->topic === null || in_array($one->topic, $topics, true))) {
                $subject = $one->topic === null ? 'topics' : "topic $one->topic";
                $findings[] = new Finding($level, $subject, rtrim($one->what, '.'), $one->remedy, ['difference' => $one->kind]);
            }
        }

        return $findings;
    }

    /**
     * Topics that are not configured by name; those that are belong to differences().
     *
     * @param list<string> $missing
     *
     * @return iterable<Finding>
     */
    private function missing(Context $context, array $missing): iterable
    {
        foreach ($missing as $topic) {
            if (($context->operations[$topic] ?? null) === []) {
                // Hidden from this user, so its existence is unknown; AclCheck has reported it.
                continue;
            }
            if (isset($context->plan()->wanted[$topic])) {
                if ($context->settings['auto_create_topics']) {
                    yield Finding::ok(
                        "topic $topic",
                        'does not exist yet: the first message creates it with the settings of topic_mapping'
                    );
                }
                continue;
            }
            $near = Text::nearest($topic, $context->topicNames());
            yield $context->settings['auto_create_topics'] ? Finding::warning(
                "topic $topic",
                'does not exist: no message was ever sent to its channel' . ($near === null ? '' : "; there is $near"),
                'Is the name of the channel the same as in the publisher, and the prefix '
                    . "{$context->settings['topic_prefix']} the same there? The first message creates the topic; workers "
                    . 'wait for it.'
            ) : Finding::error(
                "topic $topic",
                'does not exist, and auto_create_topics is off',
                "Create it: realtime:topics:create, or kafka-topics.sh --create --topic $topic."
            );
        }
    }

    /**
     * The settings of a topic; null if they cannot be read.
     *
     * @return array<string, ?string>|null
     */
    private function config(Context $context, string $topic): ?array
    {
        if (array_key_exists($topic, $this->configs)) {
            return $this->configs[$topic];
        }
        if ($context->blocked('admin') !== null || $this->refusals >= self::MAX_REFUSALS) {
            return null;
        }
        $start = microtime(true);
        try {
            return $this->configs[$topic] = $context->admin()->topicConfig($topic);
        } catch (RealtimeException) {
            // A user may lack permission for settings; do not wait for a timeout per topic.
            $this->refusals += microtime(true) - $start > 1.0 ? self::MAX_REFUSALS : 1;

            return $this->configs[$topic] = null;
        }
    }
}
