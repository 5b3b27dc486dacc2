<?php

/**
 * realtime:kafka:dev in Toporia: a broker for development.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia\Commands;

use Toporia\Realtime\Toporia\BridgedCommand;

/**
 * `php console realtime:kafka:dev --help` shows its options.
 */
final class DevCommand extends BridgedCommand
{
    protected string $signature = 'realtime:kafka:dev';
    protected string $description = 'Runs a Kafka in this process until Ctrl-C, for trying things';
}
