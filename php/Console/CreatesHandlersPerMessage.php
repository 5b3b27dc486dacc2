<?php

declare(strict_types=1);

namespace Toporia\Realtime\Console;

/**
 * A host that creates handlers and middleware for every message, unless --handler-lifetime is set. For frameworks with
 * a container that has a scope per request or job.
 */
interface CreatesHandlersPerMessage
{
}
