<?php

/**
 * realtime:dlq:show in Toporia: one dead letter.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia\Commands;

use Toporia\Realtime\Toporia\BridgedCommand;

/**
 * `php console realtime:dlq:show --help` shows its options.
 */
final class DlqShowCommand extends BridgedCommand
{
    protected string $signature = 'realtime:dlq:show';
    protected string $description = 'Shows a dead letter whole';
}
