<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

/** The severity of a finding. */
enum Level: string
{
    case Ok = 'ok';
    /** Works, but needs attention. */
    case Warning = 'warning';
    /** Does not work, or loses something. */
    case Error = 'error';
    /** Not checked; the text says why. */
    case Skipped = 'skipped';
}
