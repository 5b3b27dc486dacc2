<?php

/**
 * IDE stub of the native UnknownTopicException, and its stand-in where the extension is not loaded.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Exception;

use RuntimeException;

/**
 * A topic, or a partition of one, that does not exist and may not be created, or whose name collides with an existing
 * one (Kafka takes `.` and `_` for the same).
 */
class UnknownTopicException extends RuntimeException implements RealtimeException
{
}
