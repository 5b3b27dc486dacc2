<?php

/**
 * Toporia's realtime:dlq:list command.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia\Commands;

use Toporia\Realtime\Toporia\BridgedCommand;

/**
 * Its options are shown by `php console realtime:dlq:list --help`.
 */
final class DlqListCommand extends BridgedCommand
{
    protected string $signature = 'realtime:dlq:list';
    protected string $description = 'List dead letters: messages that could not be handled';
}
