<?php

declare(strict_types=1);

namespace Toporia\Realtime\Exception;

use RuntimeException;

/**
 * Throw this from a callback when a retry may succeed.
 *
 *     throw new TransientException('The payment service answered 503.');
 */
class TransientException extends RuntimeException implements RealtimeException, Transient
{
}
