<?php

/**
 * The other half of a circular dependency.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Console\Sample;

final class CircleBack
{
    public function __construct(public Circle $circle)
    {
    }
}
