<?php

declare(strict_types=1);

namespace Toporia\Realtime\Exception;

use Throwable;

/**
 * Implement this in your own exceptions: something that the callback needs is away. The message is retried as long as
 * it takes, and the attempt does not count.
 */
interface Transient extends Throwable
{
}
