<?php

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Support\Json;

/**
 * An enum without values: JSON refuses it.
 */
enum Direction
{
    case Up;
    case Down;
}
