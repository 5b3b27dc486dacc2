<?php

/**
 * IDE stub of the native HopLimitException, and its stand-in where the extension is not loaded.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Exception;

use RuntimeException;

/**
 * A message was sent on from consumer to consumer more than `max_hops` times: most likely two of them feed each other.
 */
class HopLimitException extends RuntimeException implements RealtimeException, Permanent
{
}
