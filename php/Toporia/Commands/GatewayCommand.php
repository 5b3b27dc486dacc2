<?php

/**
 * Toporia's realtime:gateway command.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia\Commands;

use Toporia\Realtime\Toporia\BridgedCommand;

/**
 * Its options are shown by `php console realtime:gateway --help`.
 */
final class GatewayCommand extends BridgedCommand
{
    protected string $signature = 'realtime:gateway';
    protected string $description =
        'Run the WebSocket gateway, which delivers broadcasts to browsers (pusher-js, laravel-echo)';
}
