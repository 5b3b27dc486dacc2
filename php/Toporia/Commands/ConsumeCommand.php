<?php

/**
 * Toporia's realtime:kafka:consume command.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia\Commands;

use Toporia\Realtime\Toporia\BridgedCommand;

/**
 * Its options are shown by `php console realtime:kafka:consume --help`.
 */
final class ConsumeCommand extends BridgedCommand
{
    protected string $signature = 'realtime:kafka:consume';
    protected string $description = 'Consume channels from Kafka and pass each message to its handler';
}
