<?php

/**
 * Toporia's realtime:dlq:show command.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia\Commands;

use Toporia\Realtime\Toporia\BridgedCommand;

/**
 * Its options are shown by `php console realtime:dlq:show --help`.
 */
final class DlqShowCommand extends BridgedCommand
{
    protected string $signature = 'realtime:dlq:show';
    protected string $description = 'Show one dead letter: why it failed, its headers, its payload';
}
