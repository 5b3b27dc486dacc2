<?php

/**
 * realtime:outbox:table in Toporia: the table of the outbox.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia\Commands;

use Toporia\Realtime\Toporia\BridgedCommand;

/**
 * `php console realtime:outbox:table --help` shows its options.
 */
final class OutboxTableCommand extends BridgedCommand
{
    protected string $signature = 'realtime:outbox:table';
    protected string $description = 'Prints or creates the outbox table';
}
