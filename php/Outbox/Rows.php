<?php

declare(strict_types=1);

namespace Toporia\Realtime\Outbox;

/**
 * A relay's view of the outbox table: selects waiting rows and records results. Rows are selected by state, never by an
 * id above the last one: ids are assigned before transactions commit, so a lower id may appear later.
 *
 * States: `pending` (not attempted), `retry` (rejected for now; blocks later rows of its key), `sent`, `failed` (can
 * never be sent; blocks nothing). Times are Unix ms of the database's clock.
 */
final class Rows
{
    private const COLUMNS = 't.id, t.message_id, t.shard, t.key_hash, t.attempts, t.record_key, t.headers, t.payload';
    /** Number of rows deleted, or marked as sent, per statement. */
    public const CHUNK = 1000;

    private string $table;
    private string $now;

    /** @throws ConnectionLost */
    public function __construct(private Database $database, private string $name, private int $shards)
    {
        Platform::checkTable($name);
        $this->table = $database->platform()->quote($name);
        $this->now = $database->platform()->now();
    }

    /**
     * Checks that the table exists.
     *
     * @throws OutboxException the message names the command that creates it
     */
    public function check(): void
    {
        try {
            $this->database->run('SELECT ' . self::COLUMNS . " FROM $this->table t WHERE t.id = 0")->fetchAll();
        } catch (ConnectionLost $e) {
            throw $e;
        } catch (OutboxException $e) {
            throw new OutboxException(
                "The outbox table $this->name cannot be read: {$e->getMessage()}. Create it with "
                    . "realtime:outbox:table.",
                0,
                $e
            );
        }
    }

    /**
     * The shards with rows to send now.
     *
     * @return list<int>
     */
    public function shards(): array
    {
        $tests = [];
        for ($shard = 0; $shard < $this->shards; $shard++) {
            $tests[] = "EXISTS({$this->pending($shard, '1')}) AS s$shard";
        }
        // One index lookup per shard, regardless of the number of rows.
        $found = $this->database->row('SELECT ' . implode(', ', $tests));
        $shards = [];
        for ($shard = 0; $shard < $this->shards; $shard++) {
            // PostgreSQL returns real booleans.
            if ((bool) $found["s$shard"]) {
                $shards[] = $shard;
            }
        }
        // Few rows wait for a retry; and another writer may use more shards than configured here.
        $others = $this->database->column(
            "SELECT DISTINCT t.shard FROM $this->table t WHERE t.state = 'retry' AND t.next_try_at <= $this->now "
            . "UNION SELECT DISTINCT t.shard FROM $this->table t WHERE t.state = 'pending' AND t.shard >= $this->shards"
        );

        return array_values(array_unique([...$shards, ...array_map('intval', $others)]));
    }

    /**
     * The rows of a shard to send now, ordered by id.
     *
     * @return list<Row>
     */
    public function next(int $shard, int $limit): array
    {
        // Of several rows of a key that wait for a retry, only the first.
        $again = 'SELECT ' . self::COLUMNS . " FROM $this->table t WHERE t.state = 'retry' AND t.shard = $shard "
            . "AND t.next_try_at <= $this->now AND NOT EXISTS (SELECT 1 FROM $this->table r WHERE r.state = 'retry' "
            . "AND r.key_hash = t.key_hash AND r.id < t.id) ORDER BY t.id LIMIT $limit";
        $rows = $this->database->rows($again);
        $remaining = $limit - count($rows);
        if ($remaining > 0) {
            array_push($rows, ...$this->database->rows($this->pending($shard, self::COLUMNS)
                . " ORDER BY t.id LIMIT $remaining"));
        }
        $rows = array_map(Row::of(...), $rows);
        usort($rows, static fn (Row $a, Row $b): int => $a->id <=> $b->id);

        return $rows;
    }

    /**
     * Marks acknowledged rows as sent.
     *
     * @param list<int> $ids
     * @param bool $keep false: delete them immediately
     */
    public function sent(array $ids, bool $keep): void
    {
        foreach (array_chunk($ids, self::CHUNK) as $chunk) {
            $these = 'id IN (' . implode(', ', array_map('intval', $chunk)) . ')';
            $this->database->run($keep
                ? "UPDATE $this->table SET state = 'sent', sent_at = $this->now, last_error = NULL WHERE $these "
                    . "AND state <> 'sent'"
                : "DELETE FROM $this->table WHERE $these");
        }
    }

    /** Schedules a retry of a rejected row. */
    public function retry(int $id, string $why, int $delayMs): void
    {
        $this->database->run(
            "UPDATE $this->table SET state = 'retry', attempts = attempts + 1, last_error = ?, "
            . "next_try_at = $this->now + $delayMs WHERE id = $id AND state IN ('pending', 'retry')",
            [self::ascii($why)]
        );
    }

    /** Marks a row as failed permanently. */
    public function failed(int $id, string $why): void
    {
        $this->database->run(
            "UPDATE $this->table SET state = 'failed', attempts = attempts + 1, last_error = ? "
            . "WHERE id = $id AND state IN ('pending', 'retry')",
            [self::ascii($why)]
        );
    }

    /**
     * Deletes up to a thousand rows that were sent longer ago than this.
     *
     * @return int number of deleted rows
     */
    public function clean(int $olderThanMs): int
    {
        $ids = $this->database->column(
            "SELECT id FROM $this->table WHERE state = 'sent' AND sent_at < $this->now - $olderThanMs "
            . 'ORDER BY sent_at LIMIT ' . self::CHUNK
        );
        if ($ids === []) {
            return 0;
        }
        // Delete by id: a range would lock gaps that the application inserts into.
        $these = implode(', ', array_map('intval', $ids));

        return $this->database->run("DELETE FROM $this->table WHERE id IN ($these) AND state = 'sent'")->rowCount();
    }

    /** Counts the waiting rows, see {@see Backlog}. */
    public function backlog(): Backlog
    {
        $counts = [];
        $first = [];
        foreach (['pending', 'retry', 'failed'] as $state) {
            // Limited, because counting visits every row.
            $row = $this->database->row(
                "SELECT COUNT(*) AS n, MIN(c.created_at) AS first, $this->now AS now FROM (SELECT t.created_at "
                . "FROM $this->table t WHERE t.state = '$state' LIMIT " . (Backlog::MAX_COUNT + 1) . ') c'
            );
            $counts[$state] = (int) $row['n'];
            if ($state !== 'failed' && $row['first'] !== null) {
                $first[] = max(0, (int) $row['now'] - (int) $row['first']);
            }
        }

        return new Backlog($counts['pending'], $counts['retry'], $counts['failed'], max([0, ...$first]) / 1000);
    }

    /** Pending rows of a shard whose key is not blocked. */
    private function pending(int $shard, string $columns): string
    {
        return "SELECT $columns FROM $this->table t WHERE t.state = 'pending' AND t.shard = $shard AND NOT EXISTS "
            . "(SELECT 1 FROM $this->table r WHERE r.state = 'retry' AND r.key_hash = t.key_hash)";
    }

    private static function ascii(string $text): string
    {
        return substr((string) preg_replace('/[^\x20-\x7e]+/', '?', $text), 0, 1000);
    }
}
