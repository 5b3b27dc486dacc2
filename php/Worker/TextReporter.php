<?php

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

use stdClass;
use Throwable;
use Toporia\Realtime\Message;

/**
 * Reports a worker's progress as text: a status line on a terminal, one line per interval elsewhere. Received data is
 * made printable first.
 */
final class TextReporter implements Reporter
{
    private const REASONS = [
        'signal' => 'Stopped by a signal',
        'max_messages' => 'Stopped at --max-messages',
        'max_time' => 'Stopped at --max-time',
        'max_memory' => 'Stopped at --max-memory',
        'empty' => 'Reached the end of all partitions',
        'restart' => 'Stopped by realtime:restart',
        'stopped' => 'Stopped by stopConsuming()',
        'error' => 'Stopped by an error',
    ];

    private ?Snapshot $last = null;
    private float $every;

    /**
     * @param float|null $every seconds between two progress lines; null: 1 on a terminal, else 10
     */
    public function __construct(private Terminal $out, ?float $every = null)
    {
        $this->every = $every ?? ($out->isInteractive() ? 1.0 : 10.0);
    }

    public function start(ConsumeOptions $options, string $group, string $handledBy): void
    {
        $this->out->line("Consuming from broker '$options->broker' as group '$group' (pid " . getmypid() . ')');
        $this->out->line('  channels  ' . Text::printable(implode(', ', $options->channels)));
        $this->out->line('  messages  ' . $handledBy);
        if ($options->from->seeks()) {
            $this->out->line(
                '  from      ' . $options->from->describe()
                . ', once per partition; a restart with --from seeks again'
            );
        }
        $this->out->line('  stop      ' . implode(', ', self::limits($options)));
    }

    public function event(string $type, string $text, array $facts = []): void
    {
        $this->out->line(date('H:i:s') . "  $text");
    }

    public function beforeHandler(): void
    {
        if ($this->out->isInteractive()) {
            $this->out->status('');
        }
    }

    public function message(Message $message): void
    {
        // Decoded from the original bytes, so that an empty object stays an object.
        $envelope = json_decode($message->toJson(), false, Text::DEPTH);
        $flags = JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES;
        $text = match (true) {
            !$envelope instanceof stdClass => '(broken data: ' . json_last_error_msg() . ')',
            isset($envelope->data) => (string) json_encode($envelope->data, $flags, Text::DEPTH),
            default => '',
        };
        $where = $message->getChannel() ?? $message->getTopic() ?? '';
        $this->out->line(rtrim(sprintf(
            '%s  %s  %s  %s',
            date('H:i:s'),
            Text::printable($where),
            Text::printable($message->getEvent() ?? $message->getType()),
            // The JSON is already escaped, except DEL and the C1 control characters.
            preg_replace('/[\x7f]|\xc2[\x80-\x9f]/', '?', $text)
        )));
    }

    public function progress(Snapshot $now): void
    {
        if ($now->seconds - ($this->last?->seconds ?? 0.0) < $this->every) {
            return;
        }
        $line = Text::number($now->handled) . ' handled, '
            . Text::number(round($now->rateSince($this->last))) . '/s, '
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
        $this->last = $now;
        $this->out->isInteractive() ? $this->out->status($line) : $this->out->line(date('H:i:s') . "  $line");
    }

    public function failure(Throwable $e): void
    {
        $this->out->line(date('H:i:s') . '  FAILED: ' . $e::class . ': ' . Text::printable($e->getMessage()));
        $this->out->line('          thrown in ' . $e->getFile() . ' line ' . $e->getLine());
    }

    public function summary(Summary $summary): void
    {
        $line = sprintf(
            '%s. %s handled in %s s (%s/s), %s',
            self::REASONS[$summary->reason] ?? "Stopped: $summary->reason",
            Text::number($summary->handled),
            number_format($summary->seconds, 1),
            Text::number(round($summary->rate())),
            Text::count($summary->stat('failures'), 'failure')
        );
        $others = [
            'dead-lettered' => $summary->stat('dead_lettered'),
            'unhandled' => $summary->unhandled,
            'skipped' => $summary->stat('skipped'),
            'from another topic' => $summary->stat('topic_mismatch'),
        ];
        foreach (array_filter($others) as $name => $count) {
            $line .= ', ' . Text::number($count) . " $name";
        }
        $lag = (int) ($summary->stats['lag'] ?? -1);
        // Remove the status line: it would look as if the worker were still running.
        $this->out->status('');
        $this->out->line($line . ($lag < 0 ? '.' : ', lag ' . Text::number($lag) . '.'));
    }

    /** @return non-empty-list<string> */
    private static function limits(ConsumeOptions $options): array
    {
        $limits = array_filter([
            $options->maxMessages > 0 ? 'after ' . Text::count($options->maxMessages, 'message') : null,
            $options->maxTime > 0 ? 'after ' . Text::count($options->maxTime, 'second') : null,
            $options->maxMemory > 0 ? 'above ' . Text::bytes($options->maxMemory) : null,
            $options->stopWhenEmpty ? 'when empty' : null,
        ]);

        return [...array_values($limits), 'Ctrl-C or SIGTERM'];
    }
}
