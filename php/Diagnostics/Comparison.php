<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

use Closure;
use Toporia\Realtime\Worker\Text;

/**
 * Compares the topics of a cluster with the configuration. Each difference has a remedy; differences of the same kind
 * are merged.
 */
final class Comparison
{
    /** Number of topics up to which one topic per channel is acceptable; the cost grows with each topic. */
    public const MAX_CHANNELS = 1000;

    /**
     * @param array<string, TopicState> $topics all topics of the cluster, by name
     * @param Closure(string): ?array<string, ?string> $settings returns a topic's settings; null if not available
     * @param int $brokers number of brokers in the cluster
     * @param list<string> $hidden topics that this user may not describe
     */
    public function __construct(
        private TopicPlan $plan,
        private array $topics,
        private Closure $settings,
        private int $brokers,
        private int $maxChannels = self::MAX_CHANNELS,
        private array $hidden = []
    ) {
    }

    /** @return list<Difference> most severe first */
    public function differences(): array
    {
        $found = [];
        foreach ($this->plan->wanted as $wanted) {
            $state = $this->topics[$wanted->topic] ?? null;
            $found = [
                ...$found,
                ...($wanted->disputed ? [self::disputed($wanted)] : []),
                ...($state === null ? $this->missing($wanted) : $this->differingSettings($wanted, $state)),
            ];
        }
        $found = [...$found, ...$this->brokerProblems(), ...$this->tooManyChannels(), ...$this->unusedTopics()];
        $level = static fn (string $level): array
            => array_filter($found, static fn (Difference $one): bool => $one->level === $level);

        return [...$level(Difference::WRONG), ...$level(Difference::WARNING), ...$level(Difference::NOTE)];
    }

    /** @return list<Difference> */
    private function missing(WantedTopic $wanted): array
    {
        if (in_array($wanted->topic, $this->hidden, true)) {
            return [new Difference(
                Difference::WRONG,
                'forbidden',
                $wanted->topic,
                'is not visible: Kafka\'s ACLs do not allow this user to see it, whether it exists or not.',
                "kafka-acls.sh --add --allow-principal User:NAME --operation Describe --topic $wanted->topic"
            )];
        }
        $existing = $this->collidingTopic($wanted->topic);
        if ($existing !== null) {
            return [new Difference(
                Difference::WRONG,
                'collision',
                $wanted->topic,
                "cannot be created: Kafka treats it and $existing as the same name (`.` and `_` are equal).",
                "Use $existing in topic_mapping, or another name, or delete $existing."
            )];
        }
        $auto = $this->plan->settings['auto_create_topics'];
        $patterns = implode(', ', $wanted->patterns);

        return [new Difference(
            $auto ? Difference::NOTE : Difference::WRONG,
            'missing',
            $wanted->topic,
            "is missing ($patterns)." . ($auto ? ' It is created by the first message.' : ''),
            "realtime:topics:create $wanted->topic"
        )];
    }

    /** Another existing or configured topic whose name collides with this one in Kafka. */
    private function collidingTopic(string $topic): ?string
    {
        $same = strtr($topic, '.', '_');
        foreach ([...array_keys($this->topics), ...array_keys($this->plan->wanted)] as $other) {
            $other = (string) $other;
            if ($other !== $topic && strtr($other, '.', '_') === $same) {
                return $other;
            }
        }

        return null;
    }

    private static function disputed(WantedTopic $wanted): Difference
    {
        return new Difference(
            Difference::WRONG,
            'disputed',
            $wanted->topic,
            'occurs several times in topic_mapping, with different settings; the first one is used.',
            'Use the same partitions, replication and retention for all its patterns.'
        );
    }

    /** @return list<Difference> */
    private function differingSettings(WantedTopic $wanted, TopicState $state): array
    {
        $found = [];
        $differs = static function (string $kind, string $what, string $remedy) use (&$found, $wanted): void {
            $found[] = new Difference(Difference::WRONG, $kind, $wanted->topic, $what, $remedy);
        };
        $has = count($state->partitions);
        $wants = $wanted->partitions ?? $has;
        if ($has < $wants) {
            $differs(
                'partitions',
                'has ' . Text::count($has, 'partition') . ', ' . Text::number($wants) . ' wanted.',
                "realtime:topics:create $wanted->topic --grow (a key may move to another partition: best done when all "
                . 'records are consumed)'
            );
        } elseif ($has > $wants) {
            $differs(
                'partitions',
                'has ' . Text::count($has, 'partition') . ', ' . Text::number($wants) . ' wanted; Kafka cannot remove '
                . 'any.',
                "Set its partitions to $has in topic_mapping, or use a new topic."
            );
        }
        $replicas = $wanted->replication ?? $state->replicas();
        if ($replicas !== $state->replicas()) {
            $few = $replicas > $this->brokers ? ' The cluster has ' . Text::count($this->brokers, 'broker') . '.' : '';
            $differs(
                'replication',
                "has {$state->replicas()} replicas, $replicas wanted.$few",
                $few === '' ? 'kafka-reassign-partitions.sh moves replicas to other brokers.'
                    : 'Add brokers, or lower replication in topic_mapping.'
            );
        }
        $keeps = $wanted->retention === null ? null : ($this->settings)($wanted->topic)['retention.ms'] ?? null;
        if ($keeps !== null && (int) $keeps !== $wanted->retention) {
            $differs(
                'retention',
                'retention ' . Text::retention((int) $keeps) . ', '
                . Text::retention((int) $wanted->retention) . ' wanted.',
                "kafka-configs.sh --alter --entity-type topics --entity-name $wanted->topic --add-config "
                . "retention.ms=$wanted->retention"
            );
        }

        return $found;
    }

    /** @return list<Difference> */
    private function brokerProblems(): array
    {
        $found = [];
        foreach ($this->topics as $topic => $state) {
            $problem = $this->plan->kind((string) $topic) === null ? null : $state->problem();
            if ($problem !== null) {
                $found[] = new Difference(
                    Difference::WRONG,
                    'broker',
                    (string) $topic,
                    "has $problem.",
                    'Is one of the brokers down? realtime:topics:describe ' . $topic . ' shows which.'
                );
            }
        }

        return $found;
    }

    /** @return list<Difference> */
    private function tooManyChannels(): array
    {
        $prefix = $this->plan->settings['topic_prefix'];
        $channels = count($this->named(TopicPlan::CHANNEL));
        if ($channels <= $this->maxChannels) {
            return [];
        }

        return [new Difference(
            Difference::WARNING,
            'channels',
            null,
            Text::number($channels) . " topics are channel topics ({$prefix}_…), one per channel: more than "
            . Text::number($this->maxChannels) . ' slow down Kafka, the producers and the start of consumers.',
            "Set topic_strategy to 'grouped' and map channels to a few topics: 'topic_mapping' => ['user.*' => "
            . "['topic' => '$prefix.user', 'partitions' => 12]]. The order within a channel is "
            . "preserved: the channel is the key."
        )];
    }

    /** @return list<Difference> */
    private function unusedTopics(): array
    {
        $found = [];
        $left = $this->named(TopicPlan::LEFT_OVER);
        if ($left !== []) {
            $found[] = self::note(
                $left,
                'from one topic per channel; with topic_strategy grouped they are no longer written to',
                'Once all records are consumed (realtime:lag), delete them: kafka-topics.sh --delete.'
            );
        }
        $other = $this->named(TopicPlan::OTHER);
        if ($other !== []) {
            $found[] = self::note(
                $other,
                'with this prefix that are not in the configuration',
                'Add them to topic_mapping, or delete them if they are not used.'
            );
        }
        $letters = array_filter($this->named(TopicPlan::DEAD_LETTERS), function (string $topic): bool {
            $of = $this->plan->original($topic);

            return $of !== null && !isset($this->topics[$of]) && !isset($this->plan->wanted[$of]);
        });
        if ($letters !== []) {
            $found[] = self::note(
                array_values($letters),
                'with dead letters of a topic that no longer exists',
                'Check them with realtime:dlq:list, then delete them.'
            );
        }

        return $found;
    }

    /** @param non-empty-list<string> $topics */
    private static function note(array $topics, string $what, string $remedy): Difference
    {
        $some = implode(', ', array_slice($topics, 0, 3)) . (count($topics) > 3 ? ', …' : '');
        $one = count($topics) === 1 ? $topics[0] : null;
        $what = $one === null ? Text::number(count($topics)) . " topics $what: $some." : "is a topic $what.";

        return new Difference(Difference::NOTE, 'superfluous', $one, $what, $remedy);
    }

    /** @return list<string> sorted */
    private function named(string $kind): array
    {
        $names = array_map('strval', array_keys($this->topics));

        return array_values(array_filter($names, fn (string $name): bool => $this->plan->kind($name) === $kind));
    }
}
