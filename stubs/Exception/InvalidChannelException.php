<?php

declare(strict_types=1);

namespace Toporia\Realtime\Exception;

use InvalidArgumentException;

/**
 * A channel or topic name that is empty, unprintable, or too long: at most 245 bytes for a topic, so that `dlq.` fits
 * into Kafka's limit of 249.
 */
class InvalidChannelException extends InvalidArgumentException implements RealtimeException
{
}
