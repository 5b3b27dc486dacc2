<?php

/**
 * realtime:gateway:connections in Toporia: who is connected.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia\Commands;

use Toporia\Realtime\Toporia\BridgedCommand;

/**
 * `php console realtime:gateway:connections --help` shows its options.
 */
final class GatewayConnectionsCommand extends BridgedCommand
{
    protected string $signature = 'realtime:gateway:connections';
    protected string $description = 'Lists who is connected';
}
