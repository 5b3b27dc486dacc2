<?php

declare(strict_types=1);

namespace Toporia\Realtime\Idempotency;

/** The result of claiming a key. */
enum Claim
{
    /** The key belongs to this worker now. */
    case Granted;
    /** The key was handled before. */
    case Done;
    /** Another worker is handling the key. */
    case Busy;
}
