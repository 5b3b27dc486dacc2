<?php

/**
 * Toporia's realtime:kafka:publish command.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia\Commands;

use Toporia\Realtime\Toporia\BridgedCommand;

/**
 * Its options are shown by `php console realtime:kafka:publish --help`.
 */
final class PublishCommand extends BridgedCommand
{
    protected string $signature = 'realtime:kafka:publish';
    protected string $description = 'Send an event to a channel, or one per line of standard input';
}
