<?php

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

use Throwable;
use Toporia\Realtime\Message;

/**
 * Reports a worker's progress as JSON, one object per line. Every object has `type` and `time` (ISO 8601); the last is
 * the `summary`.
 */
final class JsonReporter implements Reporter
{
    private ?Snapshot $last = null;

    /**
     * @param float $every seconds between two `progress` lines
     */
    public function __construct(private Terminal $out, private float $every = 5.0)
    {
    }

    public function start(ConsumeOptions $options, string $group, string $handledBy): void
    {
        $this->write('start', [
            'broker' => $options->broker,
            'group' => $group,
            'channels' => $options->channels,
            'messages' => $handledBy,
            'from' => $options->from->describe(),
            'pid' => getmypid(),
        ]);
    }

    public function event(string $type, string $text, array $facts = []): void
    {
        $this->write($type, ['text' => $text] + $facts);
    }

    public function beforeHandler(): void
    {
        // JSON lines have no status line to clear.
    }

    public function message(Message $message): void
    {
        // Decoded from the original bytes, so that an empty object stays an object.
        $content = json_decode($message->toJson(), false, Text::DEPTH)
            ?? ['id' => $message->getId(), 'broken' => json_last_error_msg()];
        $this->write('message', [
            'topic' => $message->getTopic(),
            'partition' => $message->getPartition(),
            'offset' => $message->getOffset(),
            'key' => $message->getKey(),
            'headers' => (object) $message->getHeaders(),
            'message' => $content,
        ]);
    }

    public function progress(Snapshot $now): void
    {
        if ($now->seconds - ($this->last?->seconds ?? 0.0) < $this->every) {
            return;
        }
        $this->write('progress', [
            'seconds' => round($now->seconds, 3),
            'handled' => $now->handled,
            'rate' => round($now->rateSince($this->last), 1),
            'lag' => $now->lag < 0 ? null : $now->lag,
            'failures' => $now->failures,
            'connected' => $now->connected,
            'waiting_for' => $now->waitingFor,
            'memory' => StopConditions::residentBytes(),
            'last_error' => $now->lastError,
        ]);
        $this->last = $now;
    }

    public function failure(Throwable $e): void
    {
        $this->write('error', [
            'class' => $e::class,
            'message' => $e->getMessage(),
            'file' => $e->getFile() . ':' . $e->getLine(),
        ]);
    }

    public function summary(Summary $summary): void
    {
        $this->write('summary', [
            'reason' => $summary->reason,
            'exit_code' => $summary->exitCode,
            'handled' => $summary->handled,
            'unhandled' => $summary->unhandled,
            'dead_lettered' => $summary->stat('dead_lettered'),
            'retries' => $summary->stat('retries'),
            'failures' => $summary->stat('failures'),
            'skipped' => $summary->stat('skipped'),
            'topic_mismatch' => $summary->stat('topic_mismatch'),
            'seconds' => round($summary->seconds, 3),
            'rate' => round($summary->rate(), 1),
            'lag' => ($summary->stats['lag'] ?? -1) < 0 ? null : $summary->stat('lag'),
            'last_error' => $summary->stats['last_error'] ?? null,
        ]);
    }

    /** @param array<string, mixed> $facts */
    private function write(string $type, array $facts): void
    {
        $this->out->line(Text::json(['type' => $type, 'time' => date(DATE_ATOM)] + $facts));
    }
}
