<?php

declare(strict_types=1);

namespace Toporia\Realtime\Outbox\Platform;

use Toporia\Realtime\Outbox\Database;
use Toporia\Realtime\Outbox\Lock\ShardLock;
use Toporia\Realtime\Outbox\Platform;

/**
 * The outbox in SQLite. Requires SQLite 3.24. A writer locks the whole file: set a busy timeout and journal_mode=WAL in
 * the application.
 */
final class Sqlite extends Platform
{
    public function create(string $table): array
    {
        $name = $this->quote($table);
        $schema = str_contains($table, '.') ? $this->quote(substr($table, 0, (int) strrpos($table, '.'))) . '.' : '';
        $base = self::base($table);
        $on = $this->quote($base);
        $leases = $this->quote(self::leases($table));

        return [
            <<<SQL
            CREATE TABLE IF NOT EXISTS $name (
                id INTEGER PRIMARY KEY AUTOINCREMENT,
                message_id TEXT NOT NULL,
                shard INTEGER NOT NULL,
                key_hash INTEGER NOT NULL,
                record_key TEXT,
                headers TEXT,
                payload TEXT NOT NULL,
                state TEXT NOT NULL DEFAULT 'pending',
                attempts INTEGER NOT NULL DEFAULT 0,
                next_try_at INTEGER NOT NULL DEFAULT 0,
                last_error TEXT,
                created_at INTEGER NOT NULL,
                sent_at INTEGER
            )
            SQL,
            "CREATE INDEX IF NOT EXISTS $schema\"{$base}_state\" ON $on (state, shard, id)",
            "CREATE INDEX IF NOT EXISTS $schema\"{$base}_retry\" ON $on (key_hash) WHERE state = 'retry'",
            "CREATE INDEX IF NOT EXISTS $schema\"{$base}_sent\" ON $on (sent_at) WHERE state = 'sent'",
            <<<SQL
            CREATE TABLE IF NOT EXISTS $leases (
                shard INTEGER PRIMARY KEY,
                owner TEXT NOT NULL,
                expires_at INTEGER NOT NULL
            )
            SQL,
        ];
    }

    public function now(): string
    {
        return "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)";
    }

    public function advisoryLock(Database $database, string $table): ?ShardLock
    {
        return null;
    }

    protected function identifierQuote(): string
    {
        return '"';
    }
}
