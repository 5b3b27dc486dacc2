<?php

/**
 * One consumer group as one look at Kafka found it.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Ops;

/**
 * Members are unknown (null) on the embedded broker, which does not tell of them.
 */
final class GroupSnapshot
{
    /**
     * @param string|null $error why nothing is known of it
     * @param string|null $state as Admin::group() has it
     * @param list<array{id: string, instance: ?string, client: string, host: string,
     *     assignment: array<string, list<int>>}>|null $members
     * @param list<PartitionLag> $partitions
     * @param list<string> $deleted topics it has committed offsets of, which are not there
     * @param array<string, string> $errors why partitions are missing, by topic
     */
    public function __construct(
        public readonly string $group,
        public readonly ?string $error = null,
        public readonly ?string $state = null,
        public readonly ?array $members = null,
        public readonly array $partitions = [],
        public readonly array $deleted = [],
        public readonly array $errors = []
    ) {
    }

    /**
     * Records behind in all partitions.
     */
    public function lag(): int
    {
        return array_sum(array_map(static fn (PartitionLag $p): int => $p->lag(), $this->partitions));
    }

    /**
     * The topics it has to do with.
     *
     * @return list<string>
     */
    public function topics(): array
    {
        $topics = array_map(static fn (PartitionLag $partition): string => $partition->topic, $this->partitions);

        return [...array_values(array_unique($topics)), ...$this->deleted];
    }

    /**
     * The same, where topics were seen earlier that are gone with their commits.
     *
     * @param list<string> $seen
     */
    public function withSeenTopics(array $seen): self
    {
        return new self(
            $this->group,
            $this->error,
            $this->state,
            $this->members,
            $this->partitions,
            $this->error === null ? [...$this->deleted, ...array_diff($seen, $this->topics())] : [],
            $this->errors
        );
    }

    /**
     * True if there is no such group: it has no members, and has committed nothing that is known.
     */
    public function isMissing(): bool
    {
        return $this->error === null && $this->partitions === [] && $this->deleted === []
            && in_array($this->state, ['Dead', null], true);
    }

    /**
     * Who reads a partition.
     *
     * @return array{id: string, instance: ?string, client: string, host: string,
     *     assignment: array<string, list<int>>}|null
     */
    public function reader(PartitionLag $partition): ?array
    {
        foreach ($this->members ?? [] as $member) {
            if (in_array($partition->partition, $member['assignment'][$partition->topic] ?? [], true)) {
                return $member;
            }
        }

        return null;
    }
}
