<?php

/**
 * What a relay has done so far.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Outbox;

/**
 * Counted since its start.
 */
final class RelayStats
{
    /** Rows that Kafka has acknowledged. */
    public int $sent = 0;
    /** Refusals after which a row waits for another try. */
    public int $retries = 0;
    /** Rows that can never be sent. */
    public int $failed = 0;
    /** Rows handed to Kafka and not acknowledged when the relay stopped: they stay, and are sent again. */
    public int $unknown = 0;
    /** Old rows that were deleted. */
    public int $cleaned = 0;
    /** What Kafka or the database complained about last. */
    public ?string $lastError = null;
    private int $start;

    public function __construct()
    {
        $this->start = (int) hrtime(true);
    }

    public function seconds(): float
    {
        return ((int) hrtime(true) - $this->start) / 1e9;
    }
}
