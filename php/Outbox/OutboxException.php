<?php

declare(strict_types=1);

namespace Toporia\Realtime\Outbox;

use RuntimeException;
use Toporia\Realtime\Exception\RealtimeException;

/**
 * A failure of the outbox itself: no transaction, no table, or an error of the database. The database's exception is
 * the previous one.
 */
class OutboxException extends RuntimeException implements RealtimeException
{
}
