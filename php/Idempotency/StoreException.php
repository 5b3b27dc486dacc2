<?php

/**
 * The store of the keys does not answer, or answers nonsense; the effect was not run.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Idempotency;

use RuntimeException;
use Toporia\Realtime\Exception\RealtimeException;
use Toporia\Realtime\Exception\Transient;

/**
 * Transient: a store that is down comes back.
 */
final class StoreException extends RuntimeException implements RealtimeException, Transient
{
}
