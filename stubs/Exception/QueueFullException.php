<?php

declare(strict_types=1);

namespace Toporia\Realtime\Exception;

use RuntimeException;

/**
 * The producer queue stayed full for `queue_full_ms`: Kafka accepts messages more slowly than they are sent, or not at
 * all. This message was not sent.
 */
class QueueFullException extends RuntimeException implements RealtimeException
{
}
