<?php

/**
 * realtime:restart in Toporia: for deployments.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia\Commands;

use Toporia\Realtime\Toporia\BridgedCommand;

/**
 * `php console realtime:restart --help` shows its options.
 */
final class RestartCommand extends BridgedCommand
{
    protected string $signature = 'realtime:restart';
    protected string $description = 'Tells running workers to finish the record in hand and exit';
}
