<?php

/**
 * A host that wants to know what its workers do.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Console;

use Toporia\Realtime\Broker;
use Toporia\Realtime\Worker\ConsumeOptions;

/**
 * Beside Host, for frameworks with events and logs of their own.
 */
interface WatchesWorkers
{
    /**
     * Called before a worker subscribes: the place for onFailed().
     */
    public function workerStarts(Broker $broker, ConsumeOptions $options): void;
}
