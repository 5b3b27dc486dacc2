<?php

declare(strict_types=1);

namespace Toporia\Realtime\Outbox;

/** Counters of a relay since its start. */
final class RelayStats
{
    /** Rows acknowledged by Kafka. */
    public int $sent = 0;
    /** Rejections after which a row waits for another attempt. */
    public int $retries = 0;
    /** Rows that can never be sent. */
    public int $failed = 0;
    /** Rows sent but not acknowledged when the relay stopped: they are kept and sent again. */
    public int $unknown = 0;
    /** Old rows deleted. */
    public int $cleaned = 0;
    /** The last error of Kafka or the database. */
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
