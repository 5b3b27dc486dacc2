<?php

declare(strict_types=1);

namespace Toporia\Realtime\Exception;

use RuntimeException;

/**
 * A message larger than the producer's `message.max.bytes`, or than the topic allows.
 */
class MessageTooLargeException extends RuntimeException implements RealtimeException
{
}
