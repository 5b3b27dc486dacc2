<?php

/**
 * Toporia's realtime:doctor command.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia\Commands;

use Toporia\Realtime\Toporia\BridgedCommand;

/**
 * Its options are shown by `php console realtime:doctor --help`.
 */
final class DoctorCommand extends BridgedCommand
{
    protected string $signature = 'realtime:doctor';
    protected string $description = 'Check everything between PHP and Kafka, and suggest remedies';
}
