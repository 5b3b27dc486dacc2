<?php

declare(strict_types=1);

namespace Toporia\Realtime\Outbox;

use Closure;

/**
 * Reports once when Kafka stops responding, and once when it responds again. Notified by the code that waits for
 * acknowledgements.
 */
final class ConnectionMonitor
{
    /** Seconds before a missing connection is reported: connecting takes a moment. */
    private const GRACE_SECONDS = 2.0;

    private bool $down = false;

    /**
     * @param Closure(): ?string $lastError returns Kafka's last error
     */
    public function __construct(
        private RelayReporter $reporter,
        private RelayStats $stats,
        private Closure $lastError
    ) {
    }

    /**
     * Acknowledgements have been missing for this many seconds.
     */
    public function waiting(float $seconds): void
    {
        if ($this->down || $seconds < self::GRACE_SECONDS) {
            return;
        }
        $this->down = true;
        $why = ($this->lastError)() ?? 'no response yet';
        $this->stats->lastError = $why;
        $this->reporter->event('disconnected', "waiting for Kafka: $why. The rows stay in "
            . "the outbox", ['error' => $why]);
    }

    /**
     * Acknowledgements have arrived.
     */
    public function connected(): void
    {
        if ($this->down) {
            $this->down = false;
            $this->stats->lastError = null;
            $this->reporter->event('connected', 'Kafka responds again');
        }
    }
}
