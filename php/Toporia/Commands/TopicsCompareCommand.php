<?php

/**
 * Toporia's realtime:topics:compare command.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia\Commands;

use Toporia\Realtime\Toporia\BridgedCommand;

/**
 * Its options are shown by `php console realtime:topics:compare --help`.
 */
final class TopicsCompareCommand extends BridgedCommand
{
    protected string $signature = 'realtime:topics:compare';
    protected string $description = 'Compare the topics with the configuration and show remedies';
}
