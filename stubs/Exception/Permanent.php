<?php

declare(strict_types=1);

namespace Toporia\Realtime\Exception;

use Throwable;

/**
 * Implement this in your own exceptions: a retry cannot succeed, so the callback is not retried.
 */
interface Permanent extends Throwable
{
}
