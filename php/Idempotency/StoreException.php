<?php

declare(strict_types=1);

namespace Toporia\Realtime\Idempotency;

use RuntimeException;
use Toporia\Realtime\Exception\RealtimeException;
use Toporia\Realtime\Exception\Transient;

/**
 * The store does not respond, or returns an unexpected result; the effect was not run. Transient: the store may
 * recover.
 */
final class StoreException extends RuntimeException implements RealtimeException, Transient
{
}
