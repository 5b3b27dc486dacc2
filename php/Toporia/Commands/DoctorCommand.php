<?php

/**
 * realtime:doctor in Toporia: what is wrong and what to do.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia\Commands;

use Toporia\Realtime\Toporia\BridgedCommand;

/**
 * `php console realtime:doctor --help` shows its options.
 */
final class DoctorCommand extends BridgedCommand
{
    protected string $signature = 'realtime:doctor';
    protected string $description = 'Looks at everything between PHP and Kafka, and says what is wrong and what to do';
}
