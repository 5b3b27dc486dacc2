<?php

/**
 * A class that depends on itself through another class.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Console\Sample;

final class Circle
{
    public function __construct(public CircleBack $back)
    {
    }
}
