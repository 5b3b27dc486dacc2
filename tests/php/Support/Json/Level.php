<?php

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Support\Json;

/**
 * An enum with integer values: JSON contains the value.
 */
enum Level: int
{
    case Low = -1;
    case High = 9007199254740993;
}
