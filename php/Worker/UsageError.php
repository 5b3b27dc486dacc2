<?php

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

use InvalidArgumentException;

/**
 * Wrong usage of a command: a missing or invalid option. Exit code 2. The message names the option, the given value and
 * the expected one.
 */
final class UsageError extends InvalidArgumentException
{
}
