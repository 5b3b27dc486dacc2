<?php

declare(strict_types=1);

namespace Toporia\Realtime\Outbox;

use Closure;
use PDO;
use PDOException;
use PDOStatement;

/**
 * A relay's own connection to the outbox database. Distinguishes errors worth a retry (lock conflicts), lost
 * connections, and other errors.
 */
final class Database
{
    /** SQLSTATEs and driver codes of lock conflicts. */
    private const LOCK_CONFLICTS = ['40001', '40P01', '55P03', 5, 6, 1205, 1213];
    private const TRIES = 5;

    private ?PDO $pdo = null;
    private ?Platform $platform = null;

    /**
     * @param Closure(): PDO $connect opens a new connection
     * @param string $name name for messages, without password
     */
    public function __construct(private Closure $connect, public readonly string $name)
    {
    }

    /** @throws ConnectionLost no connection can be opened */
    public function platform(): Platform
    {
        return $this->platform ??= Platform::of($this->driver());
    }

    /**
     * The name of the PDO driver.
     *
     * @throws ConnectionLost no connection can be opened
     */
    public function driver(): string
    {
        return (string) $this->pdo()->getAttribute(PDO::ATTR_DRIVER_NAME);
    }

    /**
     * Runs a statement with emulated prepares, which saves a round trip; all values are numbers or ASCII text.
     *
     * @param list<string|int|null> $values
     *
     * @throws ConnectionLost the connection was lost
     * @throws OutboxException the database rejects the statement
     */
    public function run(string $sql, array $values = []): PDOStatement
    {
        for ($try = 1;; $try++) {
            try {
                $statement = $this->pdo()->prepare($sql, [PDO::ATTR_EMULATE_PREPARES => true]);
                $statement->execute($values);

                return $statement;
            } catch (PDOException $e) {
                if (!self::isLockConflict($e) || $try === self::TRIES) {
                    throw $this->explain($e);
                }
                usleep(20_000 * $try);
            }
        }
    }

    /** The first value of the first row; null if there is none. */
    public function value(string $sql): mixed
    {
        return $this->column($sql)[0] ?? null;
    }

    /**
     * The first row; empty if there is none.
     *
     * @return array<string, mixed>
     */
    public function row(string $sql): array
    {
        return $this->rows($sql)[0] ?? [];
    }

    /** @return list<mixed> */
    public function column(string $sql): array
    {
        return $this->run($sql)->fetchAll(PDO::FETCH_COLUMN);
    }

    /** @return list<array<string, mixed>> */
    public function rows(string $sql): array
    {
        return $this->run($sql)->fetchAll(PDO::FETCH_ASSOC);
    }

    /**
     * Inserts a row; false if it exists already.
     *
     * @param list<string|int|null> $values
     */
    public function insertIfAbsent(string $sql, array $values): bool
    {
        try {
            $this->run($sql, $values);
        } catch (OutboxException $e) {
            $why = $e->getPrevious();
            if ($why instanceof PDOException && str_starts_with((string) $why->getCode(), '23')) {
                return false;
            }
            throw $e;
        }

        return true;
    }

    /** Closes the connection and thereby releases its locks; the next statement opens a new one. */
    public function disconnect(): void
    {
        $this->pdo = null;
    }

    private function pdo(): PDO
    {
        if ($this->pdo === null) {
            try {
                $this->pdo = ($this->connect)();
            } catch (PDOException $e) {
                throw new ConnectionLost("Cannot connect to the database of the outbox ($this->name): "
                    . $e->getMessage() . '. Is it running, and are REALTIME_OUTBOX_DSN, _USERNAME and _PASSWORD '
                    . '(realtime.outbox) correct?', 0, $e);
            }
            $this->pdo->setAttribute(PDO::ATTR_ERRMODE, PDO::ERRMODE_EXCEPTION);
            $this->pdo->setAttribute(PDO::ATTR_DEFAULT_FETCH_MODE, PDO::FETCH_ASSOC);
        }

        return $this->pdo;
    }

    private function explain(PDOException $e): OutboxException
    {
        try {
            $alive = $this->pdo !== null && @$this->pdo->query('SELECT 1') !== false;
        } catch (PDOException) {
            $alive = false;
        }
        if ($alive) {
            return new OutboxException("The database of the outbox ($this->name) rejected a statement: "
                . $e->getMessage(), 0, $e);
        }
        $this->disconnect();

        return new ConnectionLost("The connection to the database of the outbox ($this->name) is lost: "
            . $e->getMessage(), 0, $e);
    }

    private static function isLockConflict(PDOException $e): bool
    {
        [$state, $code] = ($e->errorInfo ?? []) + [(string) $e->getCode(), null];

        // Check both: 5 and 6 are SQLite's busy and locked under HY000, and 7 is PostgreSQL's only driver code.
        return in_array((string) $state, self::LOCK_CONFLICTS, true)
            || $state === 'HY000' && in_array((int) $code, self::LOCK_CONFLICTS, true);
    }
}
