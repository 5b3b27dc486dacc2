<?php

/**
 * The broker ended the connection instead of answering.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Doctor\Wire;

use RuntimeException;

/**
 * What it means depends on what was tried: another protocol at this port, or one who has not said who he is.
 */
final class ConnectionClosed extends RuntimeException
{
    /**
     * @param bool $afterResponse it had answered something before
     */
    public function __construct(public readonly bool $afterResponse)
    {
        parent::__construct('the broker ended the connection');
    }
}
