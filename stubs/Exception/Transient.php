<?php

/**
 * IDE stub of the native Transient interface, and its stand-in where the extension is not loaded.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Exception;

use Throwable;

/**
 * Put it on an exception of your own: a callback that throws it may succeed when tried again.
 */
interface Transient extends Throwable
{
}
