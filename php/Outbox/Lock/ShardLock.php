<?php

declare(strict_types=1);

namespace Toporia\Realtime\Outbox\Lock;

use Toporia\Realtime\Outbox\ConnectionLost;

/**
 * Assigns shards to relays. Prevents two relays from doing the same work. Only duplicates are at stake: each relay
 * sends the rows of a key in order, so even two relays on one shard cannot send a row before an earlier unsent one.
 */
interface ShardLock
{
    /**
     * Tries to lock a shard, without waiting.
     *
     * @throws ConnectionLost
     */
    public function claim(int $shard): bool;

    /**
     * Returns the shards that are still locked by this relay, and renews their locks.
     *
     * @param list<int> $shards shards locked by claim()
     *
     * @return list<int>
     *
     * @throws ConnectionLost
     */
    public function held(array $shards): array;

    /**
     * Releases a shard. No effect if it is not locked by this relay.
     *
     * @throws ConnectionLost
     */
    public function release(int $shard): void;

    /** For the first line of the report: `advisory locks`. */
    public function describe(): string;
}
