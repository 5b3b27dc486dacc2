<?php

/**
 * Toporia's realtime:lag command.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia\Commands;

use Toporia\Realtime\Toporia\BridgedCommand;

/**
 * Its options are shown by `php console realtime:lag --help`.
 */
final class LagCommand extends BridgedCommand
{
    protected string $signature = 'realtime:lag';
    protected string $description = 'Show the lag of consumer groups, and whether they catch up';
}
