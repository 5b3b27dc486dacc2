<?php

/**
 * IDE stub of the native RealtimeException interface, and its stand-in where the extension is not loaded.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Exception;

use Throwable;

/**
 * What every exception of this package implements, so that one catch gets them all.
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
