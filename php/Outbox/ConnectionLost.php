<?php

/**
 * The database has gone away under a relay.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Outbox;

/**
 * A new connection may help; whatever the old one held (advisory locks) is lost.
 */
final class ConnectionLost extends OutboxException
{
}
