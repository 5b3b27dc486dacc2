<?php

declare(strict_types=1);

namespace Toporia\Realtime\Outbox;

use Closure;
use Throwable;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Outbox\Lock\LeaseLock;
use Toporia\Realtime\Outbox\Lock\ShardLock;
use Toporia\Realtime\Worker\StopConditions;

/**
 * Runs the relay of the transactional outbox, from start to summary. Processes the shards (ShardWorker), pauses when
 * idle, cleans up, and reconnects to the database.
 *
 * Several relays may run at the same time: they share the shards and take over those of stopped relays.
 */
final class Relay
{
    /** Interval for deleting old rows, in seconds. */
    private const CLEAN_INTERVAL = 60.0;
    /** Time to retry a lost database connection, in seconds. */
    private const RECONNECT_SECONDS = 30;
    /** Lock used for cleaning up. */
    private const CLEANUP_LOCK = -1;

    private RelayStats $stats;
    private Rows $rows;
    private ShardLock $lock;
    private float $cleanAt = 0.0;

    /** @param (Closure(): ?string)|null $lastError returns Kafka's last error, for messages */
    public function __construct(
        private Database $database,
        private Sender $sender,
        private RelayOptions $options,
        private StopConditions $stop,
        private RelayReporter $reporter,
        private ?Closure $lastError = null
    ) {
        $this->stats = new RelayStats();
    }

    /**
     * Runs until a stop condition is met.
     *
     * @return int exit code: 0, or 1 after a reported failure
     *
     * @throws ConfigurationException a lock type that this database does not support
     */
    public function run(): int
    {
        $failure = null;
        try {
            $worker = $this->start();
            $this->loop($worker);
        } catch (ConfigurationException $e) {
            throw $e;
        } catch (Throwable $failure) {
            $this->reporter->failure($failure);
        }
        $code = $failure === null ? 0 : 1;
        $this->reporter->summary(
            $this->stats,
            $failure === null ? $this->stop->met() ?? 'empty' : 'error',
            $code,
            $failure === null ? $this->backlog() : null
        );

        return $code;
    }

    private function start(): ShardWorker
    {
        $this->rows = new Rows($this->database, $this->options->table, $this->options->shards);
        $this->lock = $this->lock();
        $this->rows->check();
        $this->reporter->start($this->options, $this->database->name, $this->lock->describe());
        $failed = $this->rows->backlog()->failed;
        if ($failed > 0) {
            $this->reporter->event(
                'failed_rows',
                "$failed row(s) of the table have failed permanently; the reason is in last_error. To retry them: "
                . "UPDATE {$this->options->table} SET state = 'pending' WHERE state = 'failed'",
                ['rows' => $failed]
            );
        }

        return new ShardWorker(
            $this->rows,
            $this->lock,
            $this->sender,
            $this->options,
            $this->stop,
            $this->reporter,
            $this->stats,
            $this->lastError ?? static fn (): ?string => null
        );
    }

    private function lock(): ShardLock
    {
        $lock = $this->options->lock === 'lease'
            ? null
            : $this->database->platform()->advisoryLock($this->database, $this->options->table);
        if ($lock === null && $this->options->lock === 'advisory') {
            throw new ConfigurationException(
                'lock is advisory, and SQLite has no advisory locks. Use lock auto or lease.'
            );
        }

        return $lock ?? new LeaseLock($this->database, $this->options->table, $this->options->lease * 1000);
    }

    private function loop(ShardWorker $worker): void
    {
        while ($this->stop->reason() === null) {
            try {
                $worker->recordResult();
                $progressed = $worker->processShards();
                $this->clean();
                $this->reporter->progress($this->stats, $this->rows->backlog(...));
            } catch (ConnectionLost $e) {
                $this->reconnect($e);
                continue;
            }
            if (!$progressed) {
                if ($this->options->stopWhenEmpty && !$worker->hasContention()) {
                    return;
                }
                $this->stop->pause($this->options->intervalMs / 1000);
            }
        }
        // Record the last batch if the connection was lost before.
        $worker->recordResult();
    }

    /** Deletes old sent rows, a thousand at a time. */
    private function clean(): void
    {
        $now = $this->stats->seconds();
        if ($now < $this->cleanAt || !$this->lock->claim(self::CLEANUP_LOCK)) {
            return;
        }
        $deleted = $this->rows->clean($this->options->retention * 1000);
        $this->stats->cleaned += $deleted;
        $this->lock->release(self::CLEANUP_LOCK);
        // A full chunk: there is more to delete in the next round.
        $this->cleanAt = $deleted < Rows::CHUNK ? $now + self::CLEAN_INTERVAL : $now;
    }

    /**
     * Waits until the database responds again.
     *
     * @throws ConnectionLost the timeout has expired
     */
    private function reconnect(ConnectionLost $lost): void
    {
        $this->stats->lastError = $lost->getMessage();
        $this->reporter->event('database_lost', $lost->getMessage() . '. Trying again for '
            . self::RECONNECT_SECONDS . ' s', ['error' => $lost->getMessage()]);
        $end = $this->stats->seconds() + self::RECONNECT_SECONDS;
        $wait = 0.1;
        while ($this->stop->reason() === null) {
            $this->stop->pause($wait);
            try {
                $this->database->value('SELECT 1');
                $this->reporter->event('database_back', 'the database responds again');

                return;
            } catch (ConnectionLost $e) {
                if ($this->stats->seconds() > $end) {
                    throw $e;
                }
                $wait = min(2.0, $wait * 2);
            }
        }
    }

    private function backlog(): ?Backlog
    {
        try {
            return $this->rows->backlog();
        } catch (OutboxException) {
            // The summary omits the backlog.
            return null;
        }
    }
}
