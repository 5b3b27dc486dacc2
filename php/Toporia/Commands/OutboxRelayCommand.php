<?php

/**
 * realtime:outbox:relay in Toporia: the relay of the outbox.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia\Commands;

use Toporia\Realtime\Toporia\BridgedCommand;

/**
 * `php console realtime:outbox:relay --help` shows its options.
 */
final class OutboxRelayCommand extends BridgedCommand
{
    protected string $signature = 'realtime:outbox:relay';
    protected string $description = 'Sends what is in the outbox table';
}
