<?php

declare(strict_types=1);

namespace Toporia\Realtime\Idempotency;

use Closure;
use PDO;
use PDOException;
use Throwable;
use Toporia\Realtime\Exception\ConfigurationException;

/**
 * Keeps the keys in the application's own database, in the same transaction as the effect. The mark is a row with a
 * unique key, written before the effect and committed with it: after a crash either both exist or neither. So writes of
 * the callback through the same connection happen exactly once.
 *
 *     $store = new PdoStore($pdo);
 *     $store->createTable();                     // once, or put sql() into a migration
 *     $idempotency = new Idempotency($store, 'orders');
 *     $broker->subscribe('order.*', $idempotency->wrap(function (Message $message) use ($pdo): void {
 *         $pdo->prepare('UPDATE …')->execute([…]);          // in the transaction that the wrapper has begun
 *     }));
 *
 * A second worker with the same key waits in the database until the first has committed (then it skips the message) or
 * rolled back (then it handles it). Supports SQLite, PostgreSQL, MariaDB and MySQL.
 *
 * - An open transaction is used through a savepoint: the code that began it commits both effect and mark.
 * - If the callback begins and commits transactions through a framework, the framework must begin this one too:
 *   `transaction: fn (Closure $work) => DB::transaction($work)` in Laravel, `$connection->transactional(...)` in Doctrine.
 * - Effects elsewhere (mail, HTTP, another database, Kafka) are not part of the transaction.
 */
final class PdoStore implements Store
{
    private ?PdoDialect $dialect = null;
    private int $savepoints = 0;

    /**
     * @param PDO|Closure(): PDO $pdo the connection that the callback writes through, in PDO::ERRMODE_EXCEPTION; a
     *        closure is called for each message and must return the application's connection
     * @param string $table table of the keys, optionally with its schema
     * @param int $ttl seconds to remember a handled key; longer than duplicates can be delayed. Rows are kept until
     *        purge()
     * @param (Closure(Closure): mixed)|null $transaction runs a closure in a transaction of that connection; null:
     *        beginTransaction(), commit(), rollBack()
     * @param (Closure(): int)|null $clock returns the current Unix time, for tests; null: time()
     *
     * @throws ConfigurationException a table name that would need quoting, or a time to live below 1
     */
    public function __construct(
        private PDO|Closure $pdo,
        private string $table = 'realtime_idempotency',
        private int $ttl = 604800,
        private ?Closure $transaction = null,
        private ?Closure $clock = null
    ) {
        PdoDialect::checkTable($table);
        if ($ttl < 1) {
            throw new ConfigurationException(self::class . ": ttl ($ttl) is seconds, from 1.");
        }
    }

    /**
     * Creates the table and its index if they are missing. MariaDB implicitly commits an open transaction.
     *
     * @throws PDOException the database refuses
     */
    public function createTable(): void
    {
        $pdo = $this->connection();
        foreach ($this->dialect($pdo)->create() as $statement) {
            $pdo->exec($statement);
        }
    }

    /**
     * The statements of createTable(), for a migration.
     *
     * @param string $driver sqlite, pgsql or mysql
     *
     * @return list<string>
     *
     * @throws ConfigurationException an unsupported driver, or a table name that would need quoting
     */
    public static function sql(string $driver, string $table = 'realtime_idempotency'): array
    {
        return (new PdoDialect($driver, $table))->create();
    }

    /**
     * Deletes expired keys. Call it outside of message handling: `$broker->onTick(fn () => $store->purge(), 60_000)`,
     * or from cron.
     *
     * @param int $limit maximum number of keys, to keep the transaction short
     *
     * @return int number of deleted keys
     *
     * @throws PDOException the database refuses
     */
    public function purge(int $limit = 10_000): int
    {
        $pdo = $this->connection();
        $delete = $pdo->prepare($this->dialect($pdo)->purge(max(1, $limit)));
        self::bind($delete, ['now' => $this->now(), 'also' => $this->now()]);
        $delete->execute();

        return $delete->rowCount();
    }

    public function run(array $keys, Closure $effect): int
    {
        $count = 0;
        $work = function (PDO $pdo) use ($keys, $effect, &$count): void {
            $fresh = $this->markNew($pdo, array_keys($keys));
            $count = count($fresh);
            if ($fresh !== []) {
                $effect($fresh);
                $this->checkTransaction($pdo);
            }
        };
        if ($this->transaction !== null) {
            ($this->transaction)(fn () => $work($this->transactionConnection()));
        } else {
            $pdo = $this->connection();
            $pdo->inTransaction() ? $this->inSavepoint($pdo, $work) : self::inTransaction($pdo, $work);
        }

        return $count;
    }

    /** @param Closure(PDO): void $work */
    private static function inTransaction(PDO $pdo, Closure $work): void
    {
        $pdo->beginTransaction();
        try {
            $work($pdo);
            $pdo->commit();
        } catch (Throwable $e) {
            try {
                if ($pdo->inTransaction()) {
                    $pdo->rollBack();
                }
            } catch (PDOException) {
                // The connection is lost, and the transaction with it; report the first failure.
            }
            throw $e;
        }
    }

    /** @param Closure(PDO): void $work */
    private function inSavepoint(PDO $pdo, Closure $work): void
    {
        $name = 'realtime_' . ++$this->savepoints;
        $pdo->exec("SAVEPOINT $name");
        try {
            $work($pdo);
            $pdo->exec("RELEASE SAVEPOINT $name");
        } catch (Throwable $e) {
            try {
                $pdo->exec("ROLLBACK TO SAVEPOINT $name");
            } catch (PDOException) {
                // The database has rolled back the whole transaction, or the connection is lost.
            }
            throw $e;
        }
    }

    /**
     * Marks the keys that are not marked yet.
     *
     * @param list<string> $keys
     *
     * @return list<string> the newly marked keys, in the given order
     */
    private function markNew(PDO $pdo, array $keys): array
    {
        $now = $this->now();
        $values = ['expires' => $now + $this->ttl, 'now' => $now];
        $marked = [];
        $sorted = $keys;
        // All workers use the same order: otherwise two batches could deadlock on each other's rows.
        sort($sorted, SORT_STRING);
        try {
            $statements = array_map($pdo->prepare(...), $this->dialect($pdo)->mark());
            foreach ($sorted as $key) {
                foreach ($statements as $statement) {
                    self::bind($statement, ['id' => $key] + $values);
                    $statement->execute();
                    if ($statement->rowCount() > 0) {
                        $marked[$key] = true;
                        break;
                    }
                }
            }
        } catch (PDOException $e) {
            throw new StoreException(
                "Cannot mark '" . ($key ?? $keys[0]) . "' in the table $this->table: {$e->getMessage()}. Does the table "
                . 'exist (PdoStore::createTable(), or sql() in a migration), and is the connection alive?',
                0,
                $e
            );
        }

        return array_values(array_filter($keys, static fn (string $key): bool => isset($marked[$key])));
    }

    /** Throws if the transaction that holds the mark can no longer be committed. */
    private function checkTransaction(PDO $pdo): void
    {
        if (!$pdo->inTransaction()) {
            throw new StoreException(
                'The callback ended the transaction that contains the idempotency mark (its own commit or rollback, a '
                . 'statement that creates or alters tables, or a caught deadlock): effect and mark are no longer '
                . 'atomic. '
                . "Let the wrapper commit, or pass your framework's transaction method to PdoStore as `transaction`."
            );
        }
        if ($this->dialect($pdo)->driver === 'pgsql') {
            try {
                // COMMIT in an aborted transaction rolls back without an error; any other statement reports it.
                $pdo->query('SELECT 1');
            } catch (PDOException $e) {
                throw new StoreException(
                    'The callback caught an error of PostgreSQL and continued: the transaction is aborted and cannot '
                    . 'be committed. Do not catch the exception, or set a savepoint around the statement that '
                    . 'may fail.',
                    0,
                    $e
                );
            }
        }
    }

    private function transactionConnection(): PDO
    {
        $pdo = $this->connection();
        if (!$pdo->inTransaction()) {
            throw new ConfigurationException(
                "PdoStore: `transaction` did not begin a transaction on the connection `pdo`, so effect and mark "
                . 'would not be atomic. Are they the same connection?'
            );
        }

        return $pdo;
    }

    private function connection(): PDO
    {
        $pdo = $this->pdo instanceof Closure ? ($this->pdo)() : $this->pdo;
        if (!$pdo instanceof PDO) {
            throw new ConfigurationException(
                'PdoStore: the closure must return a PDO, it returned ' . get_debug_type($pdo) . '.'
            );
        }
        if ($pdo->getAttribute(PDO::ATTR_ERRMODE) !== PDO::ERRMODE_EXCEPTION) {
            throw new ConfigurationException(
                'PdoStore needs a connection in PDO::ERRMODE_EXCEPTION: otherwise a failed statement of the callback '
                . 'would be committed as handled.'
            );
        }

        return $pdo;
    }

    private function dialect(PDO $pdo): PdoDialect
    {
        return $this->dialect ??= new PdoDialect((string) $pdo->getAttribute(PDO::ATTR_DRIVER_NAME), $this->table);
    }

    /**
     * Binds the values that the statement uses.
     *
     * @param array<string, int|string> $values
     */
    private static function bind(\PDOStatement $statement, array $values): void
    {
        foreach ($values as $name => $value) {
            if (str_contains($statement->queryString, ":$name")) {
                $statement->bindValue($name, $value, is_int($value) ? PDO::PARAM_INT : PDO::PARAM_STR);
            }
        }
    }

    private function now(): int
    {
        return $this->clock === null ? time() : ($this->clock)();
    }
}
