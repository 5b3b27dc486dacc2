<?php

/**
 * What a store answers to a worker that wants to handle a key.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Idempotency;

enum Claim
{
    /** It is this worker's to handle. */
    case Granted;
    /** It was handled before. */
    case Done;
    /** Another worker has it in hand. */
    case Busy;
}
