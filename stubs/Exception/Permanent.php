<?php

/**
 * IDE stub of the native Permanent interface, and its stand-in where the extension is not loaded.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Exception;

use Throwable;

/**
 * Put it on an exception of your own: trying the callback again cannot help, so it is not tried again.
 */
interface Permanent extends Throwable
{
}
