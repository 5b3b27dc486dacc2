<?php

/**
 * Toporia's realtime:outbox:table command.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia\Commands;

use Toporia\Realtime\Toporia\BridgedCommand;

/**
 * Its options are shown by `php console realtime:outbox:table --help`.
 */
final class OutboxTableCommand extends BridgedCommand
{
    protected string $signature = 'realtime:outbox:table';
    protected string $description = 'Create the tables of the transactional outbox';
}
