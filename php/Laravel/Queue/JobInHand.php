<?php

/**
 * Knows whether this process is in the middle of a queue job.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Laravel\Queue;

use Illuminate\Contracts\Queue\Job;
use Illuminate\Queue\Jobs\SyncJob;

/**
 * Jobs of the `sync` connection do not count: nobody tries those again, and a web request waits for them.
 */
final class JobInHand
{
    private bool $running = false;

    public function begins(Job $job): void
    {
        if (!$job instanceof SyncJob) {
            $this->running = true;
        }
    }

    public function ends(Job $job): void
    {
        if (!$job instanceof SyncJob) {
            $this->running = false;
        }
    }

    /**
     * Between two jobs, whatever was missed.
     */
    public function none(): void
    {
        $this->running = false;
    }

    public function isRunning(): bool
    {
        return $this->running;
    }
}
