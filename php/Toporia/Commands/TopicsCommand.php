<?php

/**
 * realtime:topics in Toporia: topics, and what is not as configured.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia\Commands;

use Toporia\Realtime\Toporia\BridgedCommand;

/**
 * `php console realtime:topics --help` shows its options.
 */
final class TopicsCommand extends BridgedCommand
{
    protected string $signature = 'realtime:topics';
    protected string $description = 'Topics, and what is not as configured';
}
