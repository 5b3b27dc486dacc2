<?php

declare(strict_types=1);

namespace Toporia\Realtime\Laravel\Queue;

use Illuminate\Contracts\Queue\Job;
use Illuminate\Queue\Jobs\SyncJob;
use Toporia\Realtime\Tracing\Tracing;
use Toporia\Realtime\Tracing\W3c;

/**
 * Tracks the queue job that this process is running. Jobs of the `sync` connection are ignored: they are not retried,
 * and a web request waits for them.
 */
final class CurrentJob
{
    private bool $running = false;
    /** @var array<string, string> the trace context in which the job was queued */
    private array $trace = [];

    public function start(Job $job): void
    {
        if (!$job instanceof SyncJob) {
            $this->running = true;
            $trace = $job->payload()['realtime_trace'] ?? [];
            $this->trace = is_array($trace) ? array_filter($trace, is_string(...)) : [];
        }
    }

    public function finish(Job $job): void
    {
        if (!$job instanceof SyncJob) {
            $this->running = false;
            $this->trace = [];
        }
    }

    /** Resets between two jobs, in case an event was missed. */
    public function reset(): void
    {
        $this->running = false;
        $this->trace = [];
    }

    /**
     * The trace context for a broadcast in this job, unless a newer one is current.
     *
     * @return array<string, string>
     */
    public function trace(): array
    {
        return $this->trace === [] || isset(Tracing::headers()[W3c::TRACE_PARENT]) ? [] : $this->trace;
    }

    public function isRunning(): bool
    {
        return $this->running;
    }
}
