<?php

/**
 * IDE stub of the native RetryStrategy interface, and its stand-in where the extension is not loaded.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Contract;

use Throwable;
use Toporia\Realtime\Message;

/**
 * Decides whether and when a message whose callback threw is tried again. Given to Broker::retryWith().
 */
interface RetryStrategy
{
    /**
     * Called after each failed try of an exception that is not permanent. What it throws ends consume(), and the message
     * comes again.
     *
     * @param Message $message the one that failed
     * @param Throwable $why what the callback threw; of a BatchException the exception it carries
     * @param int $attempt which try that was, from 1
     *
     * @return int|null ms until the next try; null gives up: the message becomes a dead letter
     */
    public function delay(Message $message, Throwable $why, int $attempt): ?int;
}
