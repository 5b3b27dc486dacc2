<?php

declare(strict_types=1);

namespace Toporia\Realtime\Outbox;

use PDO;
use PDOException;
use PDOStatement;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\EncodingException;
use Toporia\Realtime\Exception\InvalidChannelException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Tracing\Hook;
use Toporia\Realtime\Tracing\Tracing;

/**
 * The writing half of the transactional outbox: stores an event as a row in the application's own transaction. The
 * event is sent if and only if the transaction commits.
 *
 *     $outbox = new Outbox($pdo);
 *
 *     $pdo->beginTransaction();
 *     $pdo->prepare('INSERT INTO orders (id, total) VALUES (?, ?)')->execute([7, 9.5]);
 *     $outbox->add('user.1', 'order.created', ['id' => 7, 'total' => 9.5], key: 'order-7');
 *     $pdo->commit();                       // realtime:outbox:relay sends it; after rollBack() there is nothing to send
 *
 * Needs neither Kafka nor the extension. Messages are sent at least once, always with the same id and bytes, and per
 * key in the order of their rows, provided that their transactions did not overlap.
 */
final class Outbox
{
    public const TABLE = 'realtime_outbox';
    public const SHARDS = 16;
    /** Each shard costs an idle relay one index lookup per interval. */
    public const MAX_SHARDS = 256;

    private Platform $platform;

    /**
     * Does not query the database.
     *
     * @param PDO $pdo the connection of the application's transaction: SQLite, PostgreSQL, MariaDB or MySQL
     * @param string $table created by realtime:outbox:table; `schema.table` is allowed
     * @param int $shards number of shards, 1 to 256, by hash of the key; the same in the whole application. Changing it
     *        while rows wait can reorder rows of a key
     * @param bool $requireTransaction false: add() also works without a transaction; the row is then visible
     *        immediately
     *
     * @throws ConfigurationException an unsupported database, or an invalid name or number
     */
    public function __construct(
        private PDO $pdo,
        private string $table = self::TABLE,
        private int $shards = self::SHARDS,
        private bool $requireTransaction = true
    ) {
        $this->platform = Platform::of((string) $pdo->getAttribute(PDO::ATTR_DRIVER_NAME));
        Platform::checkTable($table);
        if ($shards < 1 || $shards > self::MAX_SHARDS) {
            throw new ConfigurationException("shards is $shards; it is a number from 1 to " . self::MAX_SHARDS . '.');
        }
    }

    /**
     * Writes an event to the outbox; a relay sends it after the transaction has committed.
     *
     * The id and the time of the message are assigned by this call.
     *
     * @param string $channel the channel, such as `user.1`
     * @param string $event the event's name
     * @param mixed $data anything json_encode() takes; null: no data
     * @param string|null $key the record key, which determines the order; null: the channel
     * @param array<string, string|null|list<string|null>> $headers record headers; those of a received message may be
     *        passed on
     *
     * @return string the message id
     *
     * @throws OutboxException no transaction is open, or the database rejects the row: roll back
     * @throws InvalidChannelException a channel that is empty, unprintable or too long
     * @throws EncodingException the data cannot be encoded as JSON
     * @throws ConfigurationException an event or a header without a name
     */
    public function add(
        string $channel,
        string $event,
        mixed $data = null,
        ?string $key = null,
        array $headers = []
    ): string {
        if ($event === '') {
            throw new ConfigurationException('Outbox::add(): the event must have a name.');
        }
        if ($this->requireTransaction && !$this->pdo->inTransaction()) {
            throw new OutboxException(
                "Outbox::add('$channel', '$event'): no transaction is open, so the event would be sent even if the "
                . 'change is rolled back. Call $pdo->beginTransaction() first (a BEGIN sent as SQL is not detected on '
                . 'every database), or create the outbox with requireTransaction: false.'
            );
        }
        $message = Message::event($channel, $event, $data);
        // All rows of a key have the same hash and shard.
        $hash = crc32($key ?? $channel);
        $this->insert([
            $message->getId(),
            $hash % $this->shards,
            $hash,
            $key === null ? null : Column::string($key),
            // Store the current trace context: the relay sends the message later, in a trace of its own.
            Column::headers($headers + Hook::withoutCallerHeaders(Tracing::headers(), $headers)),
            // The JSON is pure ASCII, so no connection charset can change it.
            $message->toJson(),
            (int) (microtime(true) * 1000),
        ]);

        return $message->getId();
    }

    /** @param list<string|int|null> $values */
    private function insert(array $values): void
    {
        $sql = 'INSERT INTO ' . $this->platform->quote($this->table)
            . ' (message_id, shard, key_hash, record_key, headers, payload, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)';
        $reason = null;
        $previous = null;
        try {
            // Emulated prepare: a single round trip, and compatible with connection poolers.
            $statement = @$this->pdo->prepare($sql, [PDO::ATTR_EMULATE_PREPARES => true]);
            if ($statement === false || !@$statement->execute($values)) {
                $reason = self::error($statement === false ? $this->pdo : $statement);
            }
        } catch (PDOException $previous) {
            $reason = $previous->getMessage();
        }
        if ($reason !== null) {
            throw new OutboxException(
                "The event was not written to the outbox table $this->table: $reason. Roll the transaction "
                    . "back. Is the table missing? realtime:outbox:table creates it.",
                0,
                $previous
            );
        }
    }

    /** The application's connection may be in silent error mode. */
    private static function error(PDO|PDOStatement $source): string
    {
        [$state, , $text] = $source->errorInfo() + [null, null, null];

        return trim("SQLSTATE[$state] " . ($text ?? 'no reason given'));
    }
}
