<?php

/**
 * Which shard a record key belongs to.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Outbox;

/**
 * Stored with every row: rows of one key have one hash, and so one shard, whoever wrote them.
 */
final class KeyHash
{
    /** Each shard costs an idle relay an index lookup in every interval. */
    public const MAX_SHARDS = 256;

    /**
     * From 0 to 4294967295.
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
