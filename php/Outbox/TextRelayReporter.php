<?php

declare(strict_types=1);

namespace Toporia\Realtime\Outbox;

use Closure;
use Throwable;
use Toporia\Realtime\Worker\Terminal;
use Toporia\Realtime\Worker\Text;

/**
 * Reports the progress of a relay as text: a status line on a terminal, one line per interval elsewhere. External data
 * is made printable first.
 */
final class TextRelayReporter implements RelayReporter
{
    private const REASONS = [
        'signal' => 'a signal',
        'empty' => 'an empty outbox',
        'max_time' => '--max-time',
        'max_memory' => '--max-memory',
        'restart' => 'realtime:restart',
        'error' => 'an error',
    ];

    private float $every;
    private float $lastReport = 0.0;
    private int $sentAtLastReport = 0;

    /**
     * @param float|null $every seconds between two progress lines; null: 1 on a terminal, else 10
     */
    public function __construct(private Terminal $out, ?float $every = null)
    {
        $this->every = $every ?? ($out->isInteractive() ? 1.0 : 10.0);
    }

    public function start(RelayOptions $options, string $database, string $lock): void
    {
        $this->out->line("Relaying $options->table to broker '$options->broker' (pid " . getmypid() . ')');
        $this->out->line('  database  ' . Text::printable($database));
        $this->out->line('  shards    ' . Text::number($options->shards) . " by $lock");
        $this->out->line('  sent rows ' . ($options->retention === 0
            ? 'are deleted immediately'
            : 'are kept for ' . Text::count($options->retention, 'second')));
        $limits = array_filter([
            $options->stopWhenEmpty ? 'when empty' : null,
            $options->maxTime > 0 ? 'after ' . Text::count($options->maxTime, 'second') : null,
            $options->maxMemory > 0 ? 'above ' . Text::bytes($options->maxMemory) : null,
            'Ctrl-C or SIGTERM',
        ]);
        $this->out->line('  stop      ' . implode(', ', $limits));
    }

    public function event(string $type, string $text, array $facts = []): void
    {
        $this->out->line(date('H:i:s') . '  ' . Text::printable($text));
    }

    public function progress(RelayStats $stats, Closure $backlog): void
    {
        $now = $stats->seconds();
        if ($now - $this->lastReport < $this->every) {
            return;
        }
        $rate = ($stats->sent - $this->sentAtLastReport) / ($now - $this->lastReport);
        $this->lastReport = $now;
        $this->sentAtLastReport = $stats->sent;
        $line = Text::number($stats->sent) . ' sent, ' . Text::number(round($rate)) . '/s, ' . self::waiting($backlog());
        if ($stats->lastError !== null) {
            $line .= ', last error: ' . Text::printable($stats->lastError);
        }
        $this->out->isInteractive() ? $this->out->status($line) : $this->out->line(date('H:i:s') . "  $line");
    }

    public function failure(Throwable $e): void
    {
        $this->out->line(date('H:i:s') . '  FAILED: ' . $e::class . ': ' . Text::printable($e->getMessage()));
    }

    public function summary(RelayStats $stats, string $reason, int $exitCode, ?Backlog $backlog): void
    {
        // Remove the status line: it would look as if the relay were still running.
        $this->out->status('');
        $line = 'Stopped by ' . (self::REASONS[$reason] ?? $reason) . '. ' . Text::number($stats->sent) . ' sent in '
            . number_format($stats->seconds(), 1) . ' s';
        if ($stats->unknown > 0) {
            $line .= ', ' . Text::number($stats->unknown) . ' not acknowledged (they remain and are sent again)';
        }
        $line .= $stats->retries > 0 ? ', ' . Text::number($stats->retries) . ' rejected temporarily' : '';
        $line .= $stats->failed > 0 ? ', ' . Text::number($stats->failed) . ' failed permanently' : '';
        $line .= $stats->cleaned > 0 ? ', ' . Text::number($stats->cleaned) . ' old rows deleted' : '';
        $this->out->line($line . ($backlog === null ? '.' : '; ' . self::waiting($backlog) . '.'));
    }

    private static function waiting(Backlog $backlog): string
    {
        $number = static fn (int $count): string => $count > Backlog::MAX_COUNT
            ? 'more than ' . Text::number(Backlog::MAX_COUNT)
            : Text::number($count);
        $text = $number($backlog->pending) . ' waiting';
        $text .= $backlog->retry > 0 ? ', ' . $number($backlog->retry) . ' to be retried' : '';
        $text .= $backlog->failed > 0 ? ', ' . $number($backlog->failed) . ' failed in the table' : '';

        return $text . ($backlog->isEmpty() ? '' : ', the oldest for ' . number_format($backlog->age, 1) . ' s');
    }
}
