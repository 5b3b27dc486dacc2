<?php

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

/**
 * Reports that handlers wait for something that is away, such as a database, and that they continue. One line when a
 * wait begins and one when it ends, from the state polled on every tick.
 */
final class DependencyWatch
{
    /**
     * Time before messages that fail transiently are reported, in ms: one retry is no news.
     */
    private const GRACE_MS = 1000;

    /** When the reported wait began, in seconds since the start of the worker; null: none is reported. */
    private ?float $since = null;

    public function __construct(private Reporter $reporter)
    {
    }

    public function update(Snapshot $now): void
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
}
