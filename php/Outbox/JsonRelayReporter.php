<?php

declare(strict_types=1);

namespace Toporia\Realtime\Outbox;

use Closure;
use Throwable;
use Toporia\Realtime\Worker\StopConditions;
use Toporia\Realtime\Worker\Terminal;
use Toporia\Realtime\Worker\Text;

/**
 * Reports the progress of a relay as JSON, one object per line. Every object has `type` and `time` (ISO 8601); the last
 * is the `summary`. Row counts are capped at 10001.
 */
final class JsonRelayReporter implements RelayReporter
{
    private float $lastReport = 0.0;

    /**
     * @param float $every seconds between two `progress` lines
     */
    public function __construct(private Terminal $out, private float $every = 5.0)
    {
    }

    public function start(RelayOptions $options, string $database, string $lock): void
    {
        $this->write('start', [
            'broker' => $options->broker,
            'database' => $database,
            'table' => $options->table,
            'shards' => $options->shards,
            'lock' => $lock,
            'retention' => $options->retention,
            'pid' => getmypid(),
        ]);
    }

    public function event(string $type, string $text, array $facts = []): void
    {
        $this->write($type, ['text' => $text] + $facts);
    }

    public function progress(RelayStats $stats, Closure $backlog): void
    {
        $now = $stats->seconds();
        if ($now - $this->lastReport < $this->every) {
            return;
        }
        $this->lastReport = $now;
        $this->write('progress', self::numbers($stats) + self::waiting($backlog()) + [
            'memory' => StopConditions::residentBytes(),
        ]);
    }

    public function failure(Throwable $e): void
    {
        $this->write('error', ['class' => $e::class, 'message' => $e->getMessage()]);
    }

    public function summary(RelayStats $stats, string $reason, int $exitCode, ?Backlog $backlog): void
    {
        $this->write(
            'summary',
            ['reason' => $reason, 'exit_code' => $exitCode] + self::numbers($stats) + self::waiting($backlog)
        );
    }

    /** @return array<string, mixed> */
    private static function numbers(RelayStats $stats): array
    {
        return [
            'seconds' => round($stats->seconds(), 3),
            'sent' => $stats->sent,
            'retries' => $stats->retries,
            'failed' => $stats->failed,
            'unacknowledged' => $stats->unknown,
            'cleaned' => $stats->cleaned,
            'last_error' => $stats->lastError,
        ];
    }

    /** @return array<string, mixed> */
    private static function waiting(?Backlog $backlog): array
    {
        return [
            'rows_pending' => $backlog?->pending,
            'rows_retry' => $backlog?->retry,
            'rows_failed' => $backlog?->failed,
            'oldest_seconds' => $backlog === null ? null : round($backlog->age, 3),
        ];
    }

    /** @param array<string, mixed> $facts */
    private function write(string $type, array $facts): void
    {
        $this->out->line(Text::json(['type' => $type, 'time' => date(DATE_ATOM)] + $facts));
    }
}
