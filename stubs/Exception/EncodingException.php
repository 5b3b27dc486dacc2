<?php

declare(strict_types=1);

namespace Toporia\Realtime\Exception;

use InvalidArgumentException;

/**
 * Data that cannot be encoded as JSON (invalid UTF-8, NAN, INF, recursion, a resource, more than 512 levels), or JSON
 * that is not a valid message. Nothing was sent.
 */
class EncodingException extends InvalidArgumentException implements RealtimeException
{
}
