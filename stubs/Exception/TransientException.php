<?php

/**
 * IDE stub of the native TransientException, and its stand-in where the extension is not loaded.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Exception;

use RuntimeException;

/**
 * Ready to throw from a callback when trying again may help.
 *
 *     throw new TransientException('The payment service answered 503.');
 */
class TransientException extends RuntimeException implements RealtimeException, Transient
{
}
