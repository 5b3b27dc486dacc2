<?php

/**
 * IDE stub of the native ConnectionException, and its stand-in where the extension is not loaded.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Exception;

use RuntimeException;

/**
 * Kafka cannot be reached or refuses us. The message says where, why, and what to try next.
 */
class ConnectionException extends RuntimeException implements RealtimeException
{
}
