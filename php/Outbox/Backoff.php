<?php

/**
 * How long a row waits that Kafka refused.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Outbox;

/**
 * Twice as long after every try, up to a minute, with a fifth of chance, so that rows do not come back all at once.
 */
final class Backoff
{
    public function __construct(private int $firstMs = 500, private int $maxMs = 60_000)
    {
    }

    /**
     * @param int $attempts tries that have failed, at least 1
     *
     * @return int ms
     */
    public function delay(int $attempts): int
    {
        $delay = min($this->maxMs, $this->firstMs * 2 ** min(20, max(0, $attempts - 1)));

        return (int) ($delay * random_int(800, 1200) / 1000);
    }
}
