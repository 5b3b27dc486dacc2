<?php

/**
 * Toporia's realtime:webhooks:send command.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia\Commands;

use Toporia\Realtime\Toporia\BridgedCommand;

/**
 * Its options are shown by `php console realtime:webhooks:send --help`.
 */
final class WebhooksSendCommand extends BridgedCommand
{
    protected string $signature = 'realtime:webhooks:send';
    protected string $description =
        'Post the webhooks of the gateways to the application, signed as Pusher signs them';
}
