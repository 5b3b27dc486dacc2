<?php

/**
 * Toporia's realtime:gateway:unsubscribe command.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia\Commands;

use Toporia\Realtime\Toporia\BridgedCommand;

/**
 * Its options are shown by `php console realtime:gateway:unsubscribe --help`.
 */
final class GatewayUnsubscribeCommand extends BridgedCommand
{
    protected string $signature = 'realtime:gateway:unsubscribe';
    protected string $description = 'Unsubscribe a user, a socket or all subscribers from a channel, on all gateways';
}
