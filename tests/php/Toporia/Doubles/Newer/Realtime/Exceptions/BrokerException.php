<?php

/**
 * The exception that the newer generation's manager catches.
 */

declare(strict_types=1);

namespace Toporia\Framework\Realtime\Exceptions;

use RuntimeException;
use Throwable;

class BrokerException extends RuntimeException
{
    public function __construct(string $message, private array $context = [], int $code = 0, ?Throwable $previous = null)
    {
        parent::__construct($message, $code, $previous);
    }

    public function getContext(): array
    {
        return $this->context;
    }
}
