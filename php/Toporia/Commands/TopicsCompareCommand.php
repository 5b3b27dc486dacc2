<?php

/**
 * realtime:topics:compare in Toporia: compares topics with the configuration.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia\Commands;

use Toporia\Realtime\Toporia\BridgedCommand;

/**
 * `php console realtime:topics:compare --help` shows its options.
 */
final class TopicsCompareCommand extends BridgedCommand
{
    protected string $signature = 'realtime:topics:compare';
    protected string $description = 'Compares topics with the configuration';
}
