<?php

/**
 * Toporia's realtime:outbox:relay command.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia\Commands;

use Toporia\Realtime\Toporia\BridgedCommand;

/**
 * Its options are shown by `php console realtime:outbox:relay --help`.
 */
final class OutboxRelayCommand extends BridgedCommand
{
    protected string $signature = 'realtime:outbox:relay';
    protected string $description = 'Send the rows of the transactional outbox to Kafka';
}
