<?php

declare(strict_types=1);

namespace Toporia\Realtime\Outbox;

use Closure;
use Throwable;

/**
 * Reports the progress of a relay, as text or as JSON. Implemented by TextRelayReporter and JsonRelayReporter.
 */
interface RelayReporter
{
    /**
     * Identifies this relay.
     *
     * @param string $database name of the database, without password
     * @param string $lock type of the shard locks
     */
    public function start(RelayOptions $options, string $database, string $lock): void;

    /**
     * An event worth its own line.
     *
     * @param string $type machine-readable name: `disconnected`
     * @param string $text readable text
     * @param array<string, mixed> $facts machine-readable details
     */
    public function event(string $type, string $text, array $facts = []): void;

    /**
     * The current state; called often, reported at the reporter's own interval.
     *
     * @param Closure(): Backlog $backlog queries the database, so only call it for a line that is written
     */
    public function progress(RelayStats $stats, Closure $backlog): void;

    /**
     * Reports the failure that ended the relay.
     */
    public function failure(Throwable $e): void;

    /**
     * Reports the result of the run.
     *
     * @param string $reason `signal`, `empty`, `max_time`, `max_memory`, `restart` or `error`
     * @param Backlog|null $backlog null: the database does not respond
     */
    public function summary(RelayStats $stats, string $reason, int $exitCode, ?Backlog $backlog): void;
}
