<?php

/**
 * IDE stub of the native Transient interface; loaded as a replacement if the extension is missing.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Exception;

use Throwable;

/**
 * Implement this in your own exceptions: a callback that throws one may succeed on a retry.
 */
interface Transient extends Throwable
{
}
