<?php

declare(strict_types=1);

namespace Toporia\Realtime\Idempotency;

use RuntimeException;
use Toporia\Realtime\Exception\RealtimeException;
use Toporia\Realtime\Exception\Transient;

/** Another worker is handling the same key. Transient: on the next attempt the key is either done or free. */
final class InProgressException extends RuntimeException implements RealtimeException, Transient
{
    /** @param string $key the key with its scope */
    public function __construct(private string $key)
    {
        parent::__construct(
            "Another worker is handling '$key' right now. It will be retried. If that worker crashed, the key "
            . 'is released when the same record is delivered again, or when the lease of the store expires.'
        );
    }

    /** The key with its scope. */
    public function getKey(): string
    {
        return $this->key;
    }
}
