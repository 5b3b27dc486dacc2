<?php

/**
 * realtime:gateway:unsubscribe in Toporia: takes off a channel.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia\Commands;

use Toporia\Realtime\Toporia\BridgedCommand;

/**
 * `php console realtime:gateway:unsubscribe --help` shows its options.
 */
final class GatewayUnsubscribeCommand extends BridgedCommand
{
    protected string $signature = 'realtime:gateway:unsubscribe';
    protected string $description = 'Takes a user or a socket off a channel';
}
