<?php

declare(strict_types=1);

namespace Toporia\Realtime\Exception;

use Throwable;

/**
 * Implemented by every exception of this package, so that a single catch handles all of them.
 *
 *     try {
 *         Realtime::broadcast('user.1', 'order.created', $order);
 *     } catch (RealtimeException $e) {
 *         logger()->warning($e->getMessage());
 *     }
 */
interface RealtimeException extends Throwable
{
}
