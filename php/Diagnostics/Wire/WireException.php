<?php

/**
 * A failed step of connecting to a broker.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics\Wire;

use RuntimeException;

/**
 * The message describes the failure; `remedy` says what to do.
 */
final class WireException extends RuntimeException
{
    public const DNS = 'DNS';
    public const TCP = 'TCP';
    public const TLS = 'TLS';
    public const SASL = 'SASL';
    public const API = 'API';

    /**
     * @param string $step the failed step, one of the constants
     */
    public function __construct(public readonly string $step, string $message, public readonly ?string $remedy = null)
    {
        parent::__construct($message);
    }
}
