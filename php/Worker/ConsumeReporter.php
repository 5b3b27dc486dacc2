<?php

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

/** The first line, the progress and the summary of realtime:kafka:consume. */
final class ConsumeReporter extends Reporter
{
    private ?Snapshot $last = null;

    /** Identifies this worker, before it connects. */
    public function start(ConsumeOptions $options, string $group, string $handledBy): void
    {
        $limits = array_filter([
            $options->maxMessages > 0 ? 'after ' . Text::count($options->maxMessages, 'message') : null,
            $options->maxTime > 0 ? 'after ' . Text::count($options->maxTime, 'second') : null,
            $options->maxMemory > 0 ? 'above ' . Text::bytes($options->maxMemory) : null,
            $options->stopWhenEmpty ? 'when empty' : null,
        ]);
        $from = $options->from->describe();
        $this->write('start', [
            "Consuming from broker '$options->broker' as group '$group' (pid " . getmypid() . ')',
            '  channels  ' . Text::printable(implode(', ', $options->channels)),
            '  messages  ' . $handledBy,
            ...($options->from->seeks()
                ? ["  from      $from, once per partition; a restart with --from seeks again"] : []),
            '  stop      ' . implode(', ', [...$limits, 'Ctrl-C or SIGTERM']),
        ], [
            'broker' => $options->broker,
            'group' => $group,
            'channels' => $options->channels,
            'messages' => $handledBy,
            'from' => $from,
            'pid' => getmypid(),
        ]);
    }

    /** The current state; called several times per second, reported once per interval. */
    public function progress(Snapshot $now): void
    {
        if (!$this->isProgressDue($now->seconds)) {
            return;
        }
        $rate = $now->rateSince($this->last);
        $this->last = $now;
        $line = Text::number($now->handled) . ' handled, ' . Text::number(round($rate)) . '/s, '
            . ($now->lag < 0 ? 'lag unknown' : 'lag ' . Text::number($now->lag)) . ', '
            . Text::count($now->failures, 'failure');
        if (!$now->connected) {
            $line .= ', Kafka is not reachable';
        } elseif ($now->waitingFor !== []) {
            $line .= ', waiting for ' . Text::count(count($now->waitingFor), 'topic');
        }
        if ($now->lastError !== null) {
            $line .= ', last error: ' . Text::printable($now->lastError);
        }
        $this->writeProgress($line, [
            'seconds' => round($now->seconds, 3),
            'handled' => $now->handled,
            'rate' => round($rate, 1),
            'lag' => $now->lag < 0 ? null : $now->lag,
            'failures' => $now->failures,
            'connected' => $now->connected,
            'waiting_for' => $now->waitingFor,
            'memory' => StopConditions::residentBytes(),
            'last_error' => $now->lastError,
        ]);
    }

    /**
     * The result of the run.
     *
     * @param int $handled messages whose callback returned, and dead letters
     * @param int $unhandled messages among them without an entry in `realtime.handlers`
     * @param string $reason why it stopped: `signal`, `max_messages`, `empty`, `stopped`, `error`, `max_time`,
     *        `max_memory` or `restart`
     * @param array<string, mixed> $stats of Broker::stats() at the end
     */
    public function summary(
        int $handled,
        int $unhandled,
        float $seconds,
        string $reason,
        int $exitCode,
        array $stats
    ): void {
        $rate = $seconds > 0 ? $handled / $seconds : 0.0;
        $counts = ['dead_lettered' => 0, 'retries' => 0, 'failures' => 0, 'skipped' => 0, 'topic_mismatch' => 0];
        $counts = array_map(intval(...), array_intersect_key($stats, $counts) + $counts);
        $lag = (int) ($stats['lag'] ?? -1);
        $line = sprintf(
            '%s. %s handled in %s s (%s/s), %s',
            $reason === 'empty' ? 'Reached the end of all partitions' : self::stopped($reason),
            Text::number($handled),
            number_format($seconds, 1),
            Text::number(round($rate)),
            Text::count($counts['failures'], 'failure')
        );
        $others = [
            'dead-lettered' => $counts['dead_lettered'],
            'unhandled' => $unhandled,
            'skipped' => $counts['skipped'],
            'from another topic' => $counts['topic_mismatch'],
        ];
        foreach (array_filter($others) as $name => $count) {
            $line .= ', ' . Text::number($count) . " $name";
        }
        $this->writeSummary($line . ($lag < 0 ? '.' : ', lag ' . Text::number($lag) . '.'), [
            'reason' => $reason,
            'exit_code' => $exitCode,
            'handled' => $handled,
            'unhandled' => $unhandled,
            'dead_lettered' => $counts['dead_lettered'],
            'retries' => $counts['retries'],
            'failures' => $counts['failures'],
            'skipped' => $counts['skipped'],
            'topic_mismatch' => $counts['topic_mismatch'],
            'seconds' => round($seconds, 3),
            'rate' => round($rate, 1),
            'lag' => $lag < 0 ? null : $lag,
            'last_error' => $stats['last_error'] ?? null,
        ]);
    }
}
