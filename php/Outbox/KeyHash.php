<?php

declare(strict_types=1);

namespace Toporia\Realtime\Outbox;

/**
 * Maps record keys to shards. Stored with every row, so that all rows of a key have the same hash and shard.
 */
final class KeyHash
{
    /** Each shard costs an idle relay one index lookup per interval. */
    public const MAX_SHARDS = 256;

    /**
     * A hash from 0 to 4294967295.
     */
    public static function of(string $key): int
    {
        return crc32($key);
    }

    public static function shard(int $hash, int $shards): int
    {
        return $hash % $shards;
    }
}
