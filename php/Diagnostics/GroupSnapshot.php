<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

/**
 * The state of one consumer group at one moment. Members are null on the embedded broker, which does not report them.
 */
final class GroupSnapshot
{
    /**
     * @param string|null $error why the group could not be described
     * @param string|null $state see Admin::group()
     * @param list<array{id: string, instance: ?string, client: string, host: string,
     *     assignment: array<string, list<int>>}>|null $members
     * @param list<PartitionLag> $partitions
     * @param list<string> $deleted topics with commits of this group that no longer exist
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

    /** The lag in records, over all partitions. */
    public function lag(): int
    {
        return array_sum(array_map(static fn (PartitionLag $p): int => $p->lag(), $this->partitions));
    }

    /**
     * The topics of the group.
     *
     * @return list<string>
     */
    public function topics(): array
    {
        $topics = array_map(static fn (PartitionLag $partition): string => $partition->topic, $this->partitions);

        return [...array_values(array_unique($topics)), ...$this->deleted];
    }

    /**
     * A copy that lists earlier seen topics as deleted if they are gone together with their commits.
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

    /** True if there is no such group: it has neither members nor commits. */
    public function isMissing(): bool
    {
        return $this->error === null && $this->partitions === [] && $this->deleted === []
            && in_array($this->state, ['Dead', null], true);
    }

    /**
     * The member that reads a partition.
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
