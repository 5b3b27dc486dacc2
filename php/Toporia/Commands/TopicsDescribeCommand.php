<?php

/**
 * realtime:topics:describe in Toporia: one topic in full.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia\Commands;

use Toporia\Realtime\Toporia\BridgedCommand;

/**
 * `php console realtime:topics:describe --help` shows its options.
 */
final class TopicsDescribeCommand extends BridgedCommand
{
    protected string $signature = 'realtime:topics:describe';
    protected string $description = 'One topic in full';
}
