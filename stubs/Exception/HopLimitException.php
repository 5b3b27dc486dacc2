<?php

declare(strict_types=1);

namespace Toporia\Realtime\Exception;

use RuntimeException;

/**
 * A message was forwarded from consumer to consumer more than `max_hops` times, probably in a loop.
 */
class HopLimitException extends RuntimeException implements RealtimeException, Permanent
{
}
