<?php

/**
 * Toporia's realtime:dlq:purge command.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia\Commands;

use Toporia\Realtime\Toporia\BridgedCommand;

/**
 * Its options are shown by `php console realtime:dlq:purge --help`.
 */
final class DlqPurgeCommand extends BridgedCommand
{
    protected string $signature = 'realtime:dlq:purge';
    protected string $description = 'Delete dead letters permanently';
}
