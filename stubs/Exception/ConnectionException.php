<?php

declare(strict_types=1);

namespace Toporia\Realtime\Exception;

use RuntimeException;

/**
 * Kafka cannot be reached or rejects the connection. The message says where, why, and how to fix it.
 */
class ConnectionException extends RuntimeException implements RealtimeException
{
}
