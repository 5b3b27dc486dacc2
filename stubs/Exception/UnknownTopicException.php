<?php

declare(strict_types=1);

namespace Toporia\Realtime\Exception;

use RuntimeException;

/**
 * A topic or a partition that does not exist and cannot be created, or a name that collides with an existing topic
 * (Kafka treats `.` and `_` as equal).
 */
class UnknownTopicException extends RuntimeException implements RealtimeException
{
}
