<?php

/**
 * How bad a finding is.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Doctor;

enum Level: string
{
    case Good = 'good';
    /** Works, but somebody should look at it. */
    case Doubtful = 'doubtful';
    /** Does not work, or loses something. */
    case Bad = 'bad';
    /** Not looked at, and why. */
    case Skipped = 'skipped';
}
