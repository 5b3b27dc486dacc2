<?php

/**
 * An enum: nothing makes one of it.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Console\Sample;

enum Level
{
    case Low;
}
