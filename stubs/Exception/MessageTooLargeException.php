<?php

/**
 * IDE stub of the native MessageTooLargeException, and its stand-in where the extension is not loaded.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Exception;

use RuntimeException;

/**
 * A message larger than `message.max.bytes` of the producer, or than the topic allows.
 */
class MessageTooLargeException extends RuntimeException implements RealtimeException
{
}
