<?php

declare(strict_types=1);

namespace Toporia\Realtime\Contract;

use Throwable;
use Toporia\Realtime\Message;

/**
 * Decides whether and when a message whose callback threw is retried. Passed to Broker::retryWith().
 */
interface RetryStrategy
{
    /**
     * Called after each failed attempt, except for permanent exceptions; also for transient ones, whose attempts are
     * not limited otherwise. An exception thrown here ends consume(), and
     * the message is delivered again.
     *
     * @param Message $message the failed message
     * @param Throwable $why exception of the callback; for a BatchException its previous exception
     * @param int $attempt number of the failed attempt, starting with 1
     *
     * @return int|null delay until the next attempt in ms; null: no further attempt, the message becomes a dead letter
     */
    public function delay(Message $message, Throwable $why, int $attempt): ?int;
}
