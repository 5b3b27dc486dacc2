<?php

/**
 * Toporia's realtime:restart command.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia\Commands;

use Toporia\Realtime\Toporia\BridgedCommand;

/**
 * Its options are shown by `php console realtime:restart --help`.
 */
final class RestartCommand extends BridgedCommand
{
    protected string $signature = 'realtime:restart';
    protected string $description = 'Make running workers finish the current record and exit';
}
