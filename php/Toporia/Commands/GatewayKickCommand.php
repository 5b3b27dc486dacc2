<?php

/**
 * Toporia's realtime:gateway:kick command.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia\Commands;

use Toporia\Realtime\Toporia\BridgedCommand;

/**
 * Its options are shown by `php console realtime:gateway:kick --help`.
 */
final class GatewayKickCommand extends BridgedCommand
{
    protected string $signature = 'realtime:gateway:kick';
    protected string $description =
        'Close the WebSocket connections of a user, a socket or a channel, on all gateways';
}
