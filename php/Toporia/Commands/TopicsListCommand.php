<?php

/**
 * realtime:topics:list in Toporia: topics of this application.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia\Commands;

use Toporia\Realtime\Toporia\BridgedCommand;

/**
 * `php console realtime:topics:list --help` shows its options.
 */
final class TopicsListCommand extends BridgedCommand
{
    protected string $signature = 'realtime:topics:list';
    protected string $description = 'Topics of this application';
}
