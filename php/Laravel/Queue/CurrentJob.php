<?php

/**
 * Knows whether this process is in the middle of a queue job.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Laravel\Queue;

use Illuminate\Contracts\Queue\Job;
use Illuminate\Queue\Jobs\SyncJob;
use Toporia\Realtime\Tracing\Tracing;
use Toporia\Realtime\Tracing\W3c;

/**
 * Jobs of the `sync` connection do not count: nobody tries those again, and a web request waits for them.
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

    /**
     * Between two jobs, whatever was missed.
     */
    public function reset(): void
    {
        $this->running = false;
        $this->trace = [];
    }

    /**
     * The trace context that a broadcast in this job belongs to, where nobody has made a newer one current.
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
