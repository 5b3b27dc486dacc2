<?php

/**
 * The broker closed the connection instead of responding.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics\Wire;

use RuntimeException;

/**
 * The meaning depends on the step: another protocol on this port, or missing authentication.
 */
final class ConnectionClosed extends RuntimeException
{
    /**
     * @param bool $afterResponse the broker had responded before
     */
    public function __construct(public readonly bool $afterResponse)
    {
        parent::__construct('the broker closed the connection');
    }
}
