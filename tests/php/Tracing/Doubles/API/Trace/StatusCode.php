<?php

/**
 * How a span ended.
 */

declare(strict_types=1);

namespace OpenTelemetry\API\Trace;

interface StatusCode
{
    public const STATUS_UNSET = 'Unset';
    public const STATUS_ERROR = 'Error';
}
