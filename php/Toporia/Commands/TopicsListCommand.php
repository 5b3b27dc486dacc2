<?php

/**
 * Toporia's realtime:topics:list command.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia\Commands;

use Toporia\Realtime\Toporia\BridgedCommand;

/**
 * Its options are shown by `php console realtime:topics:list --help`.
 */
final class TopicsListCommand extends BridgedCommand
{
    protected string $signature = 'realtime:topics:list';
    protected string $description = 'List the topics of this application';
}
