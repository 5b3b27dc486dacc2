<?php

/**
 * Keeps the keys in the application's own database, inside the very transaction of the effect.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Idempotency;

use Closure;
use PDO;
use PDOException;
use Throwable;
use Toporia\Realtime\Exception\ConfigurationException;

/**
 * The mark is a row with a unique key, written before the effect and committed with it: after a crash both are there or
 * neither. So what the callback does through the same connection happens once, whatever happens.
 *
 *     $store = new PdoStore($pdo);
 *     $store->createTable();                     // once, or put sql() into a migration
 *     $idempotency = new Idempotency($store, 'orders');
 *     $broker->subscribe('order.*', $idempotency->wrap(function (Message $message) use ($pdo): void {
 *         $pdo->prepare('UPDATE …')->execute([…]);          // in the transaction that the wrapper has begun
 *     }));
 *
 * A second worker with the same key waits in the database until the first has committed (then it skips) or rolled back
 * (then it goes on). SQLite, PostgreSQL, MariaDB and MySQL.
 *
 * - A transaction that is open already is used, through a savepoint: whoever began it commits it, effect and mark.
 * - A callback that begins and commits transactions through a framework needs the framework to begin this one too:
 *   `transaction: fn (Closure $work) => DB::transaction($work)` in Laravel, `$connection->transactional(...)` in Doctrine.
 * - What the callback does elsewhere (mail, HTTP, another database, Kafka) is not in the transaction.
 */
final class PdoStore implements Store
{
    private ?PdoDialect $dialect = null;
    private int $savepoints = 0;

    /**
     * @param PDO|Closure(): PDO $pdo the connection the callback writes through, in PDO::ERRMODE_EXCEPTION; a closure is
     *     asked for each message, and returns the connection the application holds
     * @param string $table the table of the keys, with its schema or without
     * @param int $ttl how long a handled key counts, in seconds; longer than a duplicate can be late. Rows stay until
     *     purge()
     * @param (Closure(Closure): mixed)|null $transaction runs what it is given in a transaction of that connection;
     *     null: beginTransaction(), commit(), rollBack()
     * @param (Closure(): int)|null $clock the present Unix second, for tests; null: time()
     *
     * @throws ConfigurationException a table name that would need quoting, a time to live below 1
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
     * Creates the table and its index where they are missing. MariaDB ends an open transaction with it.
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
     * What createTable() executes, for a migration.
     *
     * @param string $driver sqlite, pgsql or mysql
     *
     * @return list<string>
     *
     * @throws ConfigurationException another driver, or a table name that would need quoting
     */
    public static function sql(string $driver, string $table = 'realtime_idempotency'): array
    {
        return (new PdoDialect($driver, $table))->create();
    }

    /**
     * Removes keys whose time is over, outside of any message: `$broker->onTick(fn () => $store->purge(), 60_000)`, or cron.
     *
     * @param int $limit so many at most, to keep the transaction short
     *
     * @return int how many were removed
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
                // The connection is gone, and the transaction with it; the first failure is the one to report.
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
                // The database has rolled back the whole transaction, or the connection is gone.
            }
            throw $e;
        }
    }

    /**
     * Marks the keys that are not marked.
     *
     * @param list<string> $keys
     *
     * @return list<string> those, in the order they came
     */
    private function markNew(PDO $pdo, array $keys): array
    {
        $now = $this->now();
        $values = ['expires' => $now + $this->ttl, 'now' => $now];
        $marked = [];
        $sorted = $keys;
        // All workers in one order: otherwise two lists could wait for each other's rows.
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

    /**
     * Says so when the transaction with the mark in it is no longer there to be committed.
     */
    private function checkTransaction(PDO $pdo): void
    {
        if (!$pdo->inTransaction()) {
            throw new StoreException(
                'The callback ended the transaction that holds the idempotency mark (a commit or a rollback of its own, a '
                . 'statement that creates or alters tables, or a deadlock it caught): effect and mark are no longer one. '
                . "Let the wrapper commit, or give PdoStore your framework's way as `transaction`."
            );
        }
        if ($this->dialect($pdo)->driver === 'pgsql') {
            try {
                // COMMIT in an aborted transaction rolls back and reports no error; any other statement does.
                $pdo->query('SELECT 1');
            } catch (PDOException $e) {
                throw new StoreException(
                    'The callback caught an error of PostgreSQL and went on: its transaction is aborted, nothing in it can '
                    . 'be committed. Let the exception pass, or set a savepoint around the statement that may fail.',
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
                "PdoStore: `transaction` has begun no transaction on the connection that `pdo` names, so effect and mark "
                . 'would not be one. Are they the same connection?'
            );
        }

        return $pdo;
    }

    private function connection(): PDO
    {
        $pdo = $this->pdo instanceof Closure ? ($this->pdo)() : $this->pdo;
        if (!$pdo instanceof PDO) {
            throw new ConfigurationException(
                'PdoStore: the closure returned ' . get_debug_type($pdo) . '; it has to return a PDO.'
            );
        }
        if ($pdo->getAttribute(PDO::ATTR_ERRMODE) !== PDO::ERRMODE_EXCEPTION) {
            throw new ConfigurationException(
                'PdoStore needs a connection in PDO::ERRMODE_EXCEPTION: otherwise a statement of the callback that fails '
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
     * Binds those values the statement has a place for.
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
