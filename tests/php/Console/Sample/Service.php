<?php

/**
 * A class whose constructor has one parameter of each kind.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Console\Sample;

use Countable;
use Iterator;
use Toporia\Realtime\Console\Container;

final class Service
{
    public function __construct(
        public Countable $counted,
        public Container $container,
        public string $text = 'default',
        public ?Iterator $missing = null,
        int ...$rest
    ) {
    }
}
