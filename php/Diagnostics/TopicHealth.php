<?php

/**
 * Problems of topics with leaders, replicas or partitions; topics with the same problem are merged.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

use Toporia\Realtime\Worker\Text;

final class TopicHealth
{
    /** @var array<string, list<string>> topics by problem */
    private array $faults = [];
    /** @var list<Finding> problems of single topics */
    private array $own = [];

    /**
     * @param array<string, WantedTopic> $wanted the configured topics
     * @param int $brokers number of brokers in the cluster
     */
    public function __construct(private array $wanted, private int $brokers)
    {
    }

    /**
     * @param int|null $minimum min.insync.replicas; null: unknown
     */
    public function check(TopicState $state, ?int $minimum): void
    {
        [$topic, $partitions, $replicas] = [$state->name, $state->partitions, $state->replicas()];
        $leaderless = array_filter($partitions, static fn (array $one): bool => $one['leader'] < 0);
        $behind = array_filter($partitions, static fn (array $one): bool => count($one['isr']) < count($one['replicas']));
        $refusing = $minimum === null ? []
            : array_filter($partitions, static fn (array $one): bool => count($one['isr']) < $minimum);
        if ($leaderless !== []) {
            $this->faults['leader'][] = $topic;
        } elseif ($minimum !== null && $replicas < $minimum) {
            $this->faults['impossible'][] = $topic;
        } elseif ($refusing !== []) {
            $this->faults['refusing'][] = $topic;
        } elseif ($behind !== []) {
            $this->faults['behind'][] = $topic;
        }
        if ($replicas === 1 && $this->brokers > 1) {
            $this->faults['single'][] = $topic;
        }
        if ($minimum === 1 && $replicas >= 3) {
            $this->faults['minimum'][] = $topic;
        }
        $this->compare($topic, count($partitions), $replicas);
    }

    /** @return list<Finding> */
    public function findings(): array
    {
        $findings = [];
        foreach ($this->faults as $fault => $topics) {
            $facts = ['topics' => $topics, 'fault' => $fault];
            $where = (count($topics) === 1 ? 'topic ' : 'topics ') . Text::names($topics);
            $findings[] = match ($fault) {
                'leader' => Finding::error(
                    $where,
                    'has partitions without a leader: they cannot be written or read',
                    'Start the brokers that are down; `kafka-topics.sh --describe --unavailable-partitions` names '
                        . 'them.',
                    $facts
                ),
                'impossible' => Finding::error(
                    $where,
                    'has fewer replicas than min.insync.replicas requires: with acks=all no message can ever be sent',
                    'Increase the replicas with kafka-reassign-partitions.sh, or lower the setting: kafka-configs.sh '
                        . '--alter --entity-type topics --entity-name … --add-config min.insync.replicas=1',
                    $facts
                ),
                'refusing' => Finding::error(
                    $where,
                    'has fewer replicas in sync than min.insync.replicas requires: with acks=all no message '
                        . 'can be sent',
                    'Start the brokers that are down (`kafka-topics.sh --describe --under-min-isr-partitions`), or '
                        . 'lower min.insync.replicas below the number of replicas.',
                    $facts
                ),
                'behind' => Finding::warning(
                    $where,
                    'has replicas that are not in sync: a broker is down or lagging',
                    'Check `kafka-topics.sh --describe --under-replicated-partitions`, and that broker.',
                    $facts
                ),
                'single' => Finding::warning(
                    $where,
                    "has only one replica, though there are $this->brokers brokers: its messages are lost with "
                        . 'one disk, and unavailable while that broker is down',
                    'Increase it to 3 with kafka-reassign-partitions.sh; for new topics set replication in '
                        . 'topic_mapping, or default.replication.factor of the brokers.',
                    $facts
                ),
                default => Finding::warning(
                    $where,
                    'min.insync.replicas is 1: acks=all is satisfied by one replica',
                    'kafka-configs.sh --alter --entity-type topics --entity-name … --add-config '
                        . 'min.insync.replicas=2',
                    $facts
                ),
            };
        }

        return [...$findings, ...$this->own];
    }

    private function compare(string $topic, int $partitions, int $replicas): void
    {
        $wanted = ($this->wanted[$topic] ?? null)?->partitions;
        $replication = ($this->wanted[$topic] ?? null)?->replication;
        if ($wanted !== null && $wanted !== $partitions) {
            $this->own[] = Finding::warning(
                "topic $topic",
                'has ' . Text::count($partitions, 'partition') . ", and topic_mapping says $wanted",
                $wanted > $partitions
                    ? "kafka-topics.sh --alter --topic $topic --partitions $wanted (keys move to other partitions: "
                        . "the order per key is lost "
                        . 'for unconsumed records), or set the actual number in topic_mapping.'
                    : 'Partitions cannot be removed: set the actual number in topic_mapping.',
                ['partitions' => $partitions, 'wanted' => $wanted]
            );
        }
        if ($replication !== null && $replication > $replicas) {
            $this->own[] = Finding::warning(
                "topic $topic",
                "has $replicas " . ($replicas === 1 ? 'replica' : 'replicas') . ", and topic_mapping says $replication",
                'Increase it with kafka-reassign-partitions.sh: topic_mapping only applies to new topics.',
                ['replication' => $replicas, 'wanted' => $replication]
            );
        }
    }
}
