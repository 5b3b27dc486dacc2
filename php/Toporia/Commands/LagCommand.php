<?php

/**
 * realtime:lag in Toporia: consumer groups and how far they are behind.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia\Commands;

use Toporia\Realtime\Toporia\BridgedCommand;

/**
 * `php console realtime:lag --help` shows its options.
 */
final class LagCommand extends BridgedCommand
{
    protected string $signature = 'realtime:lag';
    protected string $description = 'Consumer groups and how far they are behind';
}
