<?php

/**
 * A class that wants a text nobody can guess.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Console\Sample;

final class Scalar
{
    public function __construct(public string $dsn)
    {
    }
}
