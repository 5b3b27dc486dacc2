<?php

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

/**
 * Reports changes of a worker's state, one line each, from the state polled on every tick: Kafka lost or back, topics
 * the worker waits for, and handlers that wait for something that is away, such as a database.
 */
final class StateWatch
{
    /**
     * Seconds before a missing connection is reported, unless there is an error to report: connecting takes a moment.
     */
    private const GRACE_SECONDS = 2.0;

    /** Time before messages that fail transiently are reported, in ms: one retry is no news. */
    private const GRACE_MS = 1000;

    private bool $down = false;
    private ?float $notConnectedSince = 0.0;
    private string $waitingFor = '';
    /** When the reported wait of the handlers began, in seconds since the start; null: none is reported. */
    private ?float $since = null;

    public function __construct(private Reporter $reporter)
    {
    }

    public function update(Snapshot $now): void
    {
        $this->handlers($now);
        $this->connection($now);
        $this->topics($now);
    }

    /** One line when the handlers begin to wait, and one when they continue. */
    public function handlers(Snapshot $now): void
    {
        $isOver = $now->transientWaiting === 0 && $now->openCircuits === [];
        if ($this->since !== null && $isOver) {
            $seconds = round($now->seconds - $this->since, 1);
            $this->reporter->event('handlers_continue', "the handlers succeed again, after $seconds s", [
                'seconds' => $seconds,
            ]);
            $this->since = null;
        }
        if ($this->since === null && ($now->openCircuits !== [] || $now->transientWaitMs >= self::GRACE_MS)) {
            $this->since = $now->seconds - $now->transientWaitMs / 1000;
            $this->reporter->event('handlers_wait', $this->describe($now), [
                'messages' => $now->transientWaiting,
                'paused' => $now->openCircuits,
                'error' => $now->lastFailure,
            ]);
        }
    }

    private function describe(Snapshot $now): string
    {
        $what = $now->openCircuits === []
            ? Text::count($now->transientWaiting, 'message') . ' will be retried until the handler succeeds'
            : 'the handler fails for every message of ' . Text::printable(implode(', ', $now->openCircuits))
                . '; single messages are retried until it succeeds';
        $why = $now->lastFailure === null ? '' : ': ' . Text::shorten(Text::printable($now->lastFailure), 200);

        return "waiting: $what$why";
    }

    private function connection(Snapshot $now): void
    {
        if ($now->connected) {
            if ($this->down) {
                $this->reporter->event('connected', 'Kafka is reachable again');
            }
            $this->down = false;
            $this->notConnectedSince = null;

            return;
        }
        $this->notConnectedSince ??= $now->seconds;
        $waited = $now->seconds - $this->notConnectedSince;
        if ($this->down || ($now->lastError === null && $waited < self::GRACE_SECONDS)) {
            return;
        }
        $this->down = true;
        $why = $now->lastError === null ? 'no response yet' : Text::printable($now->lastError);
        if (str_contains($why, 'certificate verify failed')) {
            $why .= ' (realtime:doctor checks the certificate)';
        }
        $this->reporter->event('disconnected', "waiting for Kafka: $why", ['error' => $now->lastError]);
    }

    private function topics(Snapshot $now): void
    {
        $topics = $now->waitingFor;
        sort($topics);
        $list = implode(', ', $topics);
        if ($list === $this->waitingFor) {
            return;
        }
        $this->waitingFor = $list;
        if ($topics !== []) {
            $this->reporter->event(
                'waiting',
                'waiting for topic' . (count($topics) === 1 ? '' : 's') . " $list (does not exist yet; will be read "
                . 'from the beginning)',
                ['topics' => $topics]
            );
        }
    }
}
