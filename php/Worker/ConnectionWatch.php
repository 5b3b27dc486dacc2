<?php

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

/**
 * Reports connection changes and missing topics: Kafka lost, Kafka back, topics the worker waits for. Turns the state
 * polled on every tick into one line per change.
 */
final class ConnectionWatch
{
    /**
     * Seconds before a missing connection is reported, unless there is an error to report: connecting takes a moment.
     */
    private const GRACE_SECONDS = 2.0;

    private bool $down = false;
    private ?float $notConnectedSince = 0.0;
    private string $waitingFor = '';

    public function __construct(private Reporter $reporter)
    {
    }

    public function update(Snapshot $now): void
    {
        $this->connection($now);
        $this->topics($now);
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
