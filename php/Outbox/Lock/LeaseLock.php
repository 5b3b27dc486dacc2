<?php

declare(strict_types=1);

namespace Toporia\Realtime\Outbox\Lock;

use Toporia\Realtime\Outbox\Database;
use Toporia\Realtime\Outbox\Platform;

/**
 * Locks shards with rows that expire: for SQLite, which has no locks between connections, and where a server's advisory
 * locks are not sufficient. Uses the database's clock. The shards of a killed relay become available when their lease
 * expires.
 */
final class LeaseLock implements ShardLock
{
    private string $table;
    private string $owner;
    private string $now;

    /** @param int $leaseMs duration of a lease, in ms */
    public function __construct(private Database $database, string $table, private int $leaseMs)
    {
        $platform = $database->platform();
        $this->table = $platform->quote(Platform::leases($table));
        $this->now = $platform->now();
        $this->owner = substr((string) gethostname(), 0, 60) . ':' . getmypid() . ':' . bin2hex(random_bytes(6));
    }

    public function claim(int $shard): bool
    {
        $taken = $this->database->run(
            "UPDATE $this->table SET owner = ?, expires_at = $this->now + $this->leaseMs "
            . "WHERE shard = $shard AND (owner = ? OR expires_at < $this->now)",
            [$this->owner, $this->owner]
        );
        if ($taken->rowCount() > 0) {
            return true;
        }
        if ($this->database->column("SELECT shard FROM $this->table WHERE shard = $shard") !== []) {
            return false;
        }

        return $this->database->insertIfAbsent(
            "INSERT INTO $this->table (shard, owner, expires_at) VALUES ($shard, ?, $this->now + $this->leaseMs)",
            [$this->owner]
        );
    }

    public function held(array $shards): array
    {
        if ($shards === []) {
            return [];
        }
        $of = "WHERE owner = ? AND expires_at >= $this->now AND shard IN (" . implode(', ', $shards) . ')';
        $left = $this->database->run("SELECT shard, expires_at - $this->now AS left_ms FROM $this->table $of", [
            $this->owner,
        ])->fetchAll();
        $held = array_map(static fn (array $row): int => (int) $row['shard'], $left);
        if ($held !== [] && min(array_map('intval', array_column($left, 'left_ms'))) < $this->leaseMs / 2) {
            $this->database->run(
                "UPDATE $this->table SET expires_at = $this->now + $this->leaseMs $of",
                [$this->owner]
            );
        }

        return $held;
    }

    public function release(int $shard): void
    {
        $this->database->run("UPDATE $this->table SET expires_at = 0 WHERE shard = $shard AND owner = ?", [
            $this->owner,
        ]);
    }

    public function describe(): string
    {
        return 'leases of ' . number_format($this->leaseMs / 1000, 1) . ' s';
    }
}
