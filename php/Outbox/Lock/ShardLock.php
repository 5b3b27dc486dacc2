<?php

/**
 * Who may send the rows of a shard.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Outbox\Lock;

use Toporia\Realtime\Outbox\ConnectionLost;

/**
 * Keeps two relays from doing the same work. What is at stake is duplicates only: each relay sends a key's rows in
 * their order, so that even two at once cannot put one before an earlier one that has not been sent.
 */
interface ShardLock
{
    /**
     * Tries to take a shard, without waiting.
     *
     * @throws ConnectionLost
     */
    public function claim(int $shard): bool;

    /**
     * Those of these shards that are still ours; also keeps them ours a while longer.
     *
     * @param list<int> $shards which claim() gave us
     *
     * @return list<int>
     *
     * @throws ConnectionLost
     */
    public function held(array $shards): array;

    /**
     * Lets others have it. Harmless where it is not ours.
     *
     * @throws ConnectionLost
     */
    public function release(int $shard): void;

    /**
     * For the start line: `advisory locks`.
     */
    public function describe(): string;
}
