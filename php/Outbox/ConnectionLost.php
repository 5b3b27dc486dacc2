<?php

declare(strict_types=1);

namespace Toporia\Realtime\Outbox;

/** The connection to the database was lost. A new connection may succeed; locks held by the old one are lost. */
final class ConnectionLost extends OutboxException
{
}
