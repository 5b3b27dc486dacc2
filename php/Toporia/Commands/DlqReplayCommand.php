<?php

/**
 * realtime:dlq:replay in Toporia: another try for dead letters.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia\Commands;

use Toporia\Realtime\Toporia\BridgedCommand;

/**
 * `php console realtime:dlq:replay --help` shows its options.
 */
final class DlqReplayCommand extends BridgedCommand
{
    protected string $signature = 'realtime:dlq:replay';
    protected string $description = 'Sends dead letters again';
}
