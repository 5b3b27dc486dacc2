<?php

/**
 * Toporia's realtime:gateway:connections command.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia\Commands;

use Toporia\Realtime\Toporia\BridgedCommand;

/**
 * Its options are shown by `php console realtime:gateway:connections --help`.
 */
final class GatewayConnectionsCommand extends BridgedCommand
{
    protected string $signature = 'realtime:gateway:connections';
    protected string $description = 'List the open WebSocket connections of all gateways';
}
