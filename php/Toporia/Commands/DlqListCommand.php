<?php

/**
 * realtime:dlq:list in Toporia: dead letters.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia\Commands;

use Toporia\Realtime\Toporia\BridgedCommand;

/**
 * `php console realtime:dlq:list --help` shows its options.
 */
final class DlqListCommand extends BridgedCommand
{
    protected string $signature = 'realtime:dlq:list';
    protected string $description = 'Lists dead letters';
}
