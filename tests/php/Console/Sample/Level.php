<?php

/**
 * An enum: a container cannot create one.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Console\Sample;

enum Level
{
    case Low;
}
