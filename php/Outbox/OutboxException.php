<?php

/**
 * A failure of the outbox itself: no transaction, no table, or an error of the database.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Outbox;

use RuntimeException;
use Toporia\Realtime\Exception\RealtimeException;

/**
 * The database's exception is the previous one.
 */
class OutboxException extends RuntimeException implements RealtimeException
{
}
