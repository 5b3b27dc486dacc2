<?php

/**
 * realtime:dlq:purge in Toporia: the end of dead letters.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia\Commands;

use Toporia\Realtime\Toporia\BridgedCommand;

/**
 * `php console realtime:dlq:purge --help` shows its options.
 */
final class DlqPurgeCommand extends BridgedCommand
{
    protected string $signature = 'realtime:dlq:purge';
    protected string $description = 'Deletes dead letters';
}
