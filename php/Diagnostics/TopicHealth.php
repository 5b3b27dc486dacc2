<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

use Toporia\Realtime\Worker\Text;

/** Problems of topics with leaders and replicas; topics with the same problem are merged. */
final class TopicHealth
{
    /** @var array<string, list<string>> topics by problem */
    private array $faults = [];

    /** @param int $brokers number of brokers in the cluster */
    public function __construct(private int $brokers)
    {
    }

    /** @param int|null $minimum min.insync.replicas; null: unknown */
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
                    'kafka-configs.sh --alter --entity-type topics --entity-name … --add-config min.insync.replicas=2',
                    $facts
                ),
            };
        }

        return $findings;
    }
}
