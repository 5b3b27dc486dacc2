<?php

declare(strict_types=1);

namespace Toporia\Realtime\Outbox;

use Closure;
use Toporia\Realtime\Worker\Reporter;
use Toporia\Realtime\Worker\StopConditions;
use Toporia\Realtime\Worker\Text;

/** The first line, the progress and the summary of realtime:outbox:relay. Row counts are capped at 10001. */
final class RelayReporter extends Reporter
{
    private float $secondsAtLastReport = 0.0;
    private int $sentAtLastReport = 0;

    /**
     * Identifies this relay.
     *
     * @param string $database name of the database, without password
     * @param string $lock type of the shard locks
     */
    public function start(RelayOptions $options, string $database, string $lock): void
    {
        $limits = array_filter([
            $options->stopWhenEmpty ? 'when empty' : null,
            $options->maxTime > 0 ? 'after ' . Text::count($options->maxTime, 'second') : null,
            $options->maxMemory > 0 ? 'above ' . Text::bytes($options->maxMemory) : null,
            'Ctrl-C or SIGTERM',
        ]);
        $this->write('start', [
            "Relaying $options->table to broker '$options->broker' (pid " . getmypid() . ')',
            '  database  ' . Text::printable($database),
            '  shards    ' . Text::number($options->shards) . " by $lock",
            '  sent rows ' . ($options->retention === 0
                ? 'are deleted immediately'
                : 'are kept for ' . Text::count($options->retention, 'second')),
            '  stop      ' . implode(', ', $limits),
        ], [
            'broker' => $options->broker,
            'database' => $database,
            'table' => $options->table,
            'shards' => $options->shards,
            'lock' => $lock,
            'retention' => $options->retention,
            'pid' => getmypid(),
        ]);
    }

    /**
     * The current state; called often, reported once per interval.
     *
     * @param Closure(): Backlog $backlog queries the database, so it is only called for a line that is written
     */
    public function progress(RelayStats $stats, Closure $backlog): void
    {
        $now = $stats->seconds();
        if (!$this->isProgressDue($now)) {
            return;
        }
        $rate = ($stats->sent - $this->sentAtLastReport) / max(1e-9, $now - $this->secondsAtLastReport);
        [$this->secondsAtLastReport, $this->sentAtLastReport] = [$now, $stats->sent];
        $backlog = $backlog();
        $line = Text::number($stats->sent) . ' sent, ' . Text::number(round($rate)) . '/s, ' . self::waiting($backlog);
        if ($stats->lastError !== null) {
            $line .= ', last error: ' . Text::printable($stats->lastError);
        }
        $this->writeProgress($line, self::numbers($stats, $backlog) + ['memory' => StopConditions::residentBytes()]);
    }

    /**
     * The result of the run.
     *
     * @param string $reason `signal`, `empty`, `max_time`, `max_memory`, `restart` or `error`
     * @param Backlog|null $backlog null: the database does not respond
     */
    public function summary(RelayStats $stats, string $reason, int $exitCode, ?Backlog $backlog): void
    {
        $line = ($reason === 'empty' ? 'The outbox is empty' : self::stopped($reason)) . '. '
            . Text::number($stats->sent) . ' sent in ' . number_format($stats->seconds(), 1) . ' s';
        $others = [
            'not acknowledged (they remain and are sent again)' => $stats->unknown,
            'rejected temporarily' => $stats->retries,
            'failed permanently' => $stats->failed,
            'old rows deleted' => $stats->cleaned,
        ];
        foreach (array_filter($others) as $what => $count) {
            $line .= ', ' . Text::number($count) . " $what";
        }
        $this->writeSummary(
            $line . ($backlog === null ? '.' : '; ' . self::waiting($backlog) . '.'),
            ['reason' => $reason, 'exit_code' => $exitCode] + self::numbers($stats, $backlog)
        );
    }

    /** @return array<string, mixed> */
    private static function numbers(RelayStats $stats, ?Backlog $backlog): array
    {
        return [
            'seconds' => round($stats->seconds(), 3),
            'sent' => $stats->sent,
            'retries' => $stats->retries,
            'failed' => $stats->failed,
            'unacknowledged' => $stats->unknown,
            'cleaned' => $stats->cleaned,
            'last_error' => $stats->lastError,
            'rows_pending' => $backlog?->pending,
            'rows_retry' => $backlog?->retry,
            'rows_failed' => $backlog?->failed,
            'oldest_seconds' => $backlog === null ? null : round($backlog->age, 3),
        ];
    }

    private static function waiting(Backlog $backlog): string
    {
        $text = Backlog::shown($backlog->pending) . ' waiting';
        $text .= $backlog->retry > 0 ? ', ' . Backlog::shown($backlog->retry) . ' to be retried' : '';
        $text .= $backlog->failed > 0 ? ', ' . Backlog::shown($backlog->failed) . ' failed in the table' : '';

        return $text . ($backlog->isEmpty() ? '' : ', the oldest for ' . number_format($backlog->age, 1) . ' s');
    }
}
