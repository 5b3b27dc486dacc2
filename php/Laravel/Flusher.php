<?php

/**
 * Waits for Kafka, bounded, where a job, a command or a request of a long-lived process ends.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Laravel;

use Toporia\Realtime\Exception\DeliveryException;
use Toporia\Realtime\Realtime;

/**
 * What is not acknowledged in time stays queued, and is not waited for again until Kafka answers.
 */
final class Flusher
{
    /** Where PHP itself ends each request, and the extension flushes after the response. */
    private const REQUEST_SAPIS = ['fpm-fcgi', 'cgi-fcgi', 'apache2handler', 'litespeed', 'cli-server'];

    private bool $timedOut = false;

    /**
     * @param int $timeoutMs the longest wait
     */
    public function __construct(private Log $log, private int $timeoutMs)
    {
    }

    /**
     * At the end of a request, where PHP does not end with it.
     */
    public function afterRequest(): void
    {
        if (!in_array(PHP_SAPI, self::REQUEST_SAPIS, true)) {
            $this->flush();
        }
    }

    public function flush(): void
    {
        $stats = Realtime::stats();
        if ($stats['queued'] > 0 && $this->timedOut && !$stats['broker_reachable']) {
            return;
        }
        $this->timedOut = false;
        try {
            Realtime::flush($this->timeoutMs);
        } catch (DeliveryException $e) {
            $this->timedOut = Realtime::stats()['queued'] > 0;
            $this->log->undelivered($e);
        }
    }
}
