<?php

/**
 * Toporia's realtime:kafka:dev command.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia\Commands;

use Toporia\Realtime\Toporia\BridgedCommand;

/**
 * Its options are shown by `php console realtime:kafka:dev --help`.
 */
final class DevCommand extends BridgedCommand
{
    protected string $signature = 'realtime:kafka:dev';
    protected string $description = 'Run the embedded development broker until Ctrl-C';
}
