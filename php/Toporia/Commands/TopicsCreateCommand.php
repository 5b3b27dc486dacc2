<?php

/**
 * Toporia's realtime:topics:create command.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia\Commands;

use Toporia\Realtime\Toporia\BridgedCommand;

/**
 * Its options are shown by `php console realtime:topics:create --help`.
 */
final class TopicsCreateCommand extends BridgedCommand
{
    protected string $signature = 'realtime:topics:create';
    protected string $description = 'Create the missing topics of topic_mapping, or the named topics';
}
