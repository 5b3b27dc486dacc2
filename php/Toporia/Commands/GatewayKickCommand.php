<?php

/**
 * realtime:gateway:kick in Toporia: disconnects.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia\Commands;

use Toporia\Realtime\Toporia\BridgedCommand;

/**
 * `php console realtime:gateway:kick --help` shows its options.
 */
final class GatewayKickCommand extends BridgedCommand
{
    protected string $signature = 'realtime:gateway:kick';
    protected string $description = 'Disconnects a user or a socket';
}
