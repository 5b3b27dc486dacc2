<?php

/**
 * IDE stub of the native QueueFullException, and its stand-in where the extension is not loaded.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Exception;

use RuntimeException;

/**
 * The producer's queue stayed full for `queue_full_ms`: Kafka takes messages more slowly than they are sent, or not at
 * all. This message was not sent.
 */
class QueueFullException extends RuntimeException implements RealtimeException
{
}
