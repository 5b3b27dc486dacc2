<?php

/**
 * Wrong usage of a command: an option that is missing or makes no sense. Exit code 2.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

use InvalidArgumentException;

/**
 * Its message names the option, what it was given and what it wants.
 */
final class UsageError extends InvalidArgumentException
{
}
