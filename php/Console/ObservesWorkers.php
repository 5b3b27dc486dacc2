<?php

declare(strict_types=1);

namespace Toporia\Realtime\Console;

use Closure;
use Throwable;
use Toporia\Realtime\Message;
use Toporia\Realtime\Worker\ConsumeOptions;

/**
 * A host that wants to be notified about its workers. Optional, for frameworks with events and logs of their own.
 */
interface ObservesWorkers
{
    /**
     * Returns a listener for failed attempts of a worker that is about to start.
     *
     * @return Closure(Message, Throwable, ?int): void third argument: ms until the next attempt; null: given up
     */
    public function failureListener(ConsumeOptions $options): Closure;
}
