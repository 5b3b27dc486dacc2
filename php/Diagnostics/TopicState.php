<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

use Toporia\Realtime\Worker\Text;

/** A topic in the cluster. Created from an entry of Admin::topics(). */
final class TopicState
{
    /** @param list<array{partition: int, leader: int, replicas: list<int>, isr: list<int>}> $partitions */
    public function __construct(public readonly string $name, public readonly array $partitions)
    {
    }

    /**
     * @param array<string, array{partitions: list<array{partition: int, leader: int, replicas: list<int>,
     *     isr: list<int>}>}> $topics of Admin::topics()
     *
     * @return array<string, self> by name
     */
    public static function all(array $topics): array
    {
        $all = [];
        foreach ($topics as $name => ['partitions' => $partitions]) {
            $all[(string) $name] = new self((string) $name, $partitions);
        }

        return $all;
    }

    /** The replication factor: the minimum over all partitions. */
    public function replicas(): int
    {
        $replicas = array_map(static fn (array $partition): int => count($partition['replicas']), $this->partitions);

        return $replicas === [] ? 0 : min($replicas);
    }

    /** The current problem of the topic; null if there is none. */
    public function problem(): ?string
    {
        $leaderless = array_filter($this->partitions, static fn (array $partition): bool => $partition['leader'] < 0);
        if ($leaderless !== []) {
            return Text::count(count($leaderless), 'partition') . ' without a leader';
        }
        $behind = array_filter(
            $this->partitions,
            static fn (array $partition): bool => count($partition['isr']) < count($partition['replicas'])
        );

        return $behind === [] ? null : Text::count(count($behind), 'partition') . ' with replicas that are not in sync';
    }
}
