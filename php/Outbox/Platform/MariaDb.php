<?php

declare(strict_types=1);

namespace Toporia\Realtime\Outbox\Platform;

use Toporia\Realtime\Outbox\Database;
use Toporia\Realtime\Outbox\Lock\MariaDbLock;
use Toporia\Realtime\Outbox\Lock\ShardLock;
use Toporia\Realtime\Outbox\Platform;

/**
 * The outbox in MariaDB and MySQL. Uses InnoDB, because MyISAM has no transactions. Creating a table commits an open
 * transaction.
 */
final class MariaDb extends Platform
{
    public function create(string $table): array
    {
        $name = $this->quote($table);
        $leases = $this->quote(self::leases($table));
        $engine = 'ENGINE=InnoDB DEFAULT CHARSET=utf8mb4';

        return [
            <<<SQL
            CREATE TABLE IF NOT EXISTS $name (
                id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
                message_id VARCHAR(64) CHARACTER SET ascii NOT NULL,
                shard SMALLINT UNSIGNED NOT NULL,
                key_hash BIGINT UNSIGNED NOT NULL,
                record_key TEXT,
                headers MEDIUMTEXT,
                payload LONGTEXT NOT NULL,
                state VARCHAR(8) CHARACTER SET ascii NOT NULL DEFAULT 'pending',
                attempts INT UNSIGNED NOT NULL DEFAULT 0,
                next_try_at BIGINT UNSIGNED NOT NULL DEFAULT 0,
                last_error TEXT,
                created_at BIGINT UNSIGNED NOT NULL,
                sent_at BIGINT UNSIGNED,
                INDEX outbox_pending (state, shard, id),
                INDEX outbox_retry (state, key_hash),
                INDEX outbox_sent (state, sent_at)
            ) $engine
            SQL,
            <<<SQL
            CREATE TABLE IF NOT EXISTS $leases (
                shard INT NOT NULL PRIMARY KEY,
                owner VARCHAR(100) NOT NULL,
                expires_at BIGINT NOT NULL
            ) $engine
            SQL,
        ];
    }

    public function now(): string
    {
        return 'CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000 AS SIGNED)';
    }

    public function advisoryLock(Database $database, string $table): ?ShardLock
    {
        return new MariaDbLock($database, $table);
    }

    protected function identifierQuote(): string
    {
        return '`';
    }
}
