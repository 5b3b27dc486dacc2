<?php

/**
 * realtime:kafka:publish in Toporia: sends by hand.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia\Commands;

use Toporia\Realtime\Toporia\BridgedCommand;

/**
 * `php console realtime:kafka:publish --help` shows its options.
 */
final class PublishCommand extends BridgedCommand
{
    protected string $signature = 'realtime:kafka:publish';
    protected string $description = 'Sends an event to a channel, or one a line from standard input';
}
