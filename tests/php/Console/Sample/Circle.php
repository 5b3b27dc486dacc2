<?php

/**
 * A class that needs itself, by way of another.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Console\Sample;

final class Circle
{
    public function __construct(public CircleBack $back)
    {
    }
}
