<?php

/**
 * Toporia's realtime:topics command.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia\Commands;

use Toporia\Realtime\Toporia\BridgedCommand;

/**
 * Its options are shown by `php console realtime:topics --help`.
 */
final class TopicsCommand extends BridgedCommand
{
    protected string $signature = 'realtime:topics';
    protected string $description = 'List the topics of this application, and differences from the configuration';
}
