<?php

declare(strict_types=1);

namespace Toporia\Realtime\Outbox;

/**
 * Delay before a rejected row is retried. Doubles with every attempt up to a minute, with 20 % jitter to spread the
 * retries.
 */
final class Backoff
{
    public function __construct(private int $firstMs = 500, private int $maxMs = 60_000)
    {
    }

    /**
     * @param int $attempts number of failed attempts, at least 1
     *
     * @return int delay in ms
     */
    public function delay(int $attempts): int
    {
        $delay = min($this->maxMs, $this->firstMs * 2 ** min(20, max(0, $attempts - 1)));

        return (int) ($delay * random_int(800, 1200) / 1000);
    }
}
