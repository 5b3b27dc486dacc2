<?php

/**
 * Toporia's realtime:dlq:replay command.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia\Commands;

use Toporia\Realtime\Toporia\BridgedCommand;

/**
 * Its options are shown by `php console realtime:dlq:replay --help`.
 */
final class DlqReplayCommand extends BridgedCommand
{
    protected string $signature = 'realtime:dlq:replay';
    protected string $description = 'Send dead letters back to their topics, for the consumer group that failed';
}
