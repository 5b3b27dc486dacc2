<?php

/**
 * realtime:kafka:consume in Toporia: the worker.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia\Commands;

use Toporia\Realtime\Toporia\BridgedCommand;

/**
 * `php console realtime:kafka:consume --help` shows its options.
 */
final class ConsumeCommand extends BridgedCommand
{
    protected string $signature = 'realtime:kafka:consume';
    protected string $description = 'Consumes channels from Kafka and hands each message to its handler';
}
