<?php

/**
 * Toporia's realtime:topics:describe command.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia\Commands;

use Toporia\Realtime\Toporia\BridgedCommand;

/**
 * Its options are shown by `php console realtime:topics:describe --help`.
 */
final class TopicsDescribeCommand extends BridgedCommand
{
    protected string $signature = 'realtime:topics:describe';
    protected string $description = 'Describe a topic: partitions, leaders, offsets, settings, permissions';
}
