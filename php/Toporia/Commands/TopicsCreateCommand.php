<?php

/**
 * realtime:topics:create in Toporia: creates topics of the configuration.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia\Commands;

use Toporia\Realtime\Toporia\BridgedCommand;

/**
 * `php console realtime:topics:create --help` shows its options.
 */
final class TopicsCreateCommand extends BridgedCommand
{
    protected string $signature = 'realtime:topics:create';
    protected string $description = 'Creates topics of the configuration';
}
