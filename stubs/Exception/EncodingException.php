<?php

/**
 * IDE stub of the native EncodingException, and its stand-in where the extension is not loaded.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Exception;

use InvalidArgumentException;

/**
 * Data that is no JSON (invalid UTF-8, NAN, INF, recursion, a resource, more than 512 levels), or JSON that is no
 * message. Nothing was sent.
 */
class EncodingException extends InvalidArgumentException implements RealtimeException
{
}
