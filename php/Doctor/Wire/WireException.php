<?php

/**
 * A step on the way to a broker that failed.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Doctor\Wire;

use RuntimeException;

/**
 * Its message says what happened; `remedy` what to do about it.
 */
final class WireException extends RuntimeException
{
    public const DNS = 'DNS';
    public const TCP = 'TCP';
    public const TLS = 'TLS';
    public const SASL = 'SASL';
    public const API = 'API';

    /**
     * @param string $step one of the constants: how far it came
     */
    public function __construct(public readonly string $step, string $message, public readonly ?string $remedy = null)
    {
        parent::__construct($message);
    }
}
