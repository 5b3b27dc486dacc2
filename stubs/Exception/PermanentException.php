<?php

/**
 * IDE stub of the native PermanentException, and its stand-in where the extension is not loaded.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Exception;

use RuntimeException;

/**
 * Ready to throw from a callback when trying again cannot help.
 *
 *     throw new PermanentException('Order 7 does not exist.');
 */
class PermanentException extends RuntimeException implements RealtimeException, Permanent
{
}
