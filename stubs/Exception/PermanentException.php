<?php

declare(strict_types=1);

namespace Toporia\Realtime\Exception;

use RuntimeException;

/**
 * Throw this from a callback when a retry cannot succeed.
 *
 *     throw new PermanentException('Order 7 does not exist.');
 */
class PermanentException extends RuntimeException implements RealtimeException, Permanent
{
}
