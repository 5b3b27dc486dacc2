<?php

declare(strict_types=1);

namespace Toporia\Realtime\Outbox\Lock;

use Toporia\Realtime\Outbox\Database;

/**
 * Locks shards with PostgreSQL's advisory locks, which end with the connection. Session-level locks: with a pooler in
 * transaction mode (PgBouncer) use leases instead.
 */
final class PostgreSqlLock implements ShardLock
{
    /** First half of the lock's key. PostgreSQL separates databases; this separates tables. */
    private int $namespace;

    public function __construct(private Database $database, string $table)
    {
        $this->namespace = crc32("toporia_realtime $table") & 0x7fffffff;
    }

    public function claim(int $shard): bool
    {
        return (bool) $this->database->value("SELECT CAST(pg_try_advisory_lock($this->namespace, $shard) AS INT)");
    }

    public function held(array $shards): array
    {
        // Check in this session: a connection that was silently replaced holds no locks.
        $held = $this->database->column(
            "SELECT CAST(objid AS BIGINT) FROM pg_locks WHERE locktype = 'advisory' AND granted "
            . "AND pid = pg_backend_pid() AND objsubid = 2 AND CAST(classid AS BIGINT) = $this->namespace"
        );

        return array_values(array_intersect($shards, array_map('intval', $held)));
    }

    public function release(int $shard): void
    {
        $this->database->value("SELECT CAST(pg_advisory_unlock($this->namespace, $shard) AS INT)");
    }

    public function describe(): string
    {
        return 'advisory locks';
    }
}
