<?php

/**
 * How a relay tells what it does: for people or for programs.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Outbox;

use Closure;
use Throwable;

/**
 * One implementation for people (TextRelayReporter), one that writes JSON lines (JsonRelayReporter).
 */
interface RelayReporter
{
    /**
     * Who this relay is.
     *
     * @param string $database its name, without a password
     * @param string $lock what holds the shards
     */
    public function start(RelayOptions $options, string $database, string $lock): void;

    /**
     * Something worth a line.
     *
     * @param string $type a word for programs: `disconnected`
     * @param string $text the same for people
     * @param array<string, mixed> $facts details for programs
     */
    public function event(string $type, string $text, array $facts = []): void;

    /**
     * Where the relay stands; called often, told at the reporter's own pace.
     *
     * @param Closure(): Backlog $backlog counts in the database, so it is only called for a line that is written
     */
    public function progress(RelayStats $stats, Closure $backlog): void;

    /**
     * Why it failed.
     */
    public function failure(Throwable $e): void;

    /**
     * The last word.
     *
     * @param string $reason `signal`, `empty`, `max_time`, `max_memory`, `restart` or `error`
     * @param Backlog|null $backlog null: the database does not tell
     */
    public function summary(RelayStats $stats, string $reason, int $exitCode, ?Backlog $backlog): void;
}
