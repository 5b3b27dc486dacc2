<?php

/**
 * Says once when Kafka does not answer, and when it does again.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Outbox;

use Closure;

/**
 * Told by whoever waits for acknowledgements.
 */
final class ConnectionMonitor
{
    /** A first connection takes a moment: not worth a line before so many seconds. */
    private const GRACE_SECONDS = 2.0;

    private bool $down = false;

    /**
     * @param Closure(): ?string $lastError the last thing Kafka complained about
     */
    public function __construct(
        private RelayReporter $reporter,
        private RelayStats $stats,
        private Closure $lastError
    ) {
    }

    /**
     * Acknowledgements have been missing for so many seconds.
     */
    public function waiting(float $seconds): void
    {
        if ($this->down || $seconds < self::GRACE_SECONDS) {
            return;
        }
        $this->down = true;
        $why = ($this->lastError)() ?? 'no response yet';
        $this->stats->lastError = $why;
        $this->reporter->event('disconnected', "waiting for Kafka: $why. The rows stay in the outbox", ['error' => $why]);
    }

    /**
     * Acknowledgements have come.
     */
    public function answered(): void
    {
        if ($this->down) {
            $this->down = false;
            $this->stats->lastError = null;
            $this->reporter->event('connected', 'Kafka answers again');
        }
    }
}
