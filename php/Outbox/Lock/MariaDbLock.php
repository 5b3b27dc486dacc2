<?php

declare(strict_types=1);

namespace Toporia\Realtime\Outbox\Lock;

use Toporia\Realtime\Outbox\Database;

/**
 * Locks shards with GET_LOCK() of MariaDB and MySQL, which ends with the connection. The lock is local to one server:
 * on a cluster with several writers (Galera) use leases instead.
 */
final class MariaDbLock implements ShardLock
{
    public function __construct(private Database $database, private string $table)
    {
    }

    public function claim(int $shard): bool
    {
        return (int) $this->database->value('SELECT GET_LOCK(' . $this->name($shard) . ', 0)') === 1;
    }

    public function held(array $shards): array
    {
        if ($shards === []) {
            return [];
        }
        $tests = array_map(
            fn (int $shard): string => 'IS_USED_LOCK(' . $this->name($shard) . ") = CONNECTION_ID() AS s$shard",
            $shards
        );
        // Check in this session: a connection that was silently replaced holds no locks.
        $row = $this->database->row('SELECT ' . implode(', ', $tests));

        return array_values(array_filter($shards, static fn (int $shard): bool => (int) ($row["s$shard"] ?? 0) === 1));
    }

    public function release(int $shard): void
    {
        $this->database->value('SELECT RELEASE_LOCK(' . $this->name($shard) . ')');
    }

    public function describe(): string
    {
        return 'named locks';
    }

    /** SQL for the lock's name: names are shared by all databases of a server, and limited to 64 characters. */
    private function name(int $shard): string
    {
        return "CONCAT('realtime:', LEFT(SHA1(CONCAT(DATABASE(), '.$this->table')), 24), ':$shard')";
    }
}
