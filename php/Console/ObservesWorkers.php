<?php

/**
 * A host that wants to know what its workers do.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Console;

use Closure;
use Throwable;
use Toporia\Realtime\Message;
use Toporia\Realtime\Worker\ConsumeOptions;

/**
 * Beside Host, for frameworks with events and logs of their own.
 */
interface ObservesWorkers
{
    /**
     * Who is told of each failed try of a worker that is about to start.
     *
     * @return Closure(Message, Throwable, ?int): void the last one: ms until the next try, null where there is none
     */
    public function failureListener(ConsumeOptions $options): Closure;
}
