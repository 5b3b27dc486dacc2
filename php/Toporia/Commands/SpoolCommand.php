<?php

/**
 * Toporia's realtime:spool command.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia\Commands;

use Toporia\Realtime\Toporia\BridgedCommand;

/**
 * Its options are shown by `php console realtime:spool --help`.
 */
final class SpoolCommand extends BridgedCommand
{
    protected string $signature = 'realtime:spool';
    protected string $description = 'List messages in the spool, and adopt those of another configuration';
}
