<?php

/**
 * A class whose string parameter the container cannot guess.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Console\Sample;

final class Scalar
{
    public function __construct(public string $dsn)
    {
    }
}
