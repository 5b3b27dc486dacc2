<?php

declare(strict_types=1);

namespace Toporia\Realtime\Laravel;

use Toporia\Realtime\Exception\DeliveryException;
use Toporia\Realtime\Realtime;

/**
 * Waits for acknowledgements, for a bounded time, when a job, command or request of a long-lived process ends.
 * Unacknowledged messages stay queued; later calls do not wait again until Kafka responds.
 */
final class Flusher
{
    /** SAPIs where PHP itself ends each request, and the extension flushes after the response. */
    private const REQUEST_SAPIS = ['fpm-fcgi', 'cgi-fcgi', 'apache2handler', 'litespeed', 'cli-server'];

    private bool $timedOut = false;

    /** @param int $timeoutMs maximum wait, in ms */
    public function __construct(private Log $log, private int $timeoutMs)
    {
    }

    /** Called at the end of a request, for SAPIs whose process outlives it. */
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
