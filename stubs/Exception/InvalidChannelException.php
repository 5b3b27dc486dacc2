<?php

/**
 * IDE stub of the native InvalidChannelException, and its stand-in where the extension is not loaded.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Exception;

use InvalidArgumentException;

/**
 * A channel or topic name that is empty, unprintable, or too long: a topic has at most 245 bytes here, so that Kafka's
 * limit of 249 leaves room for `dlq.`.
 */
class InvalidChannelException extends InvalidArgumentException implements RealtimeException
{
}
