<?php

/**
 * What can go wrong with the outbox itself: no transaction, no table, a database that refuses.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Outbox;

use RuntimeException;
use Toporia\Realtime\Exception\RealtimeException;

/**
 * The database's own exception is its previous one.
 */
class OutboxException extends RuntimeException implements RealtimeException
{
}
