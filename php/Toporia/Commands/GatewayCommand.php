<?php

/**
 * realtime:gateway in Toporia: the gateway alone.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia\Commands;

use Toporia\Realtime\Toporia\BridgedCommand;

/**
 * `php console realtime:gateway --help` shows its options.
 */
final class GatewayCommand extends BridgedCommand
{
    protected string $signature = 'realtime:gateway';
    protected string $description = 'Runs the WebSocket gateway';
}
