<?php

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Support\Json;

/**
 * An enum with string values: JSON contains the value.
 */
enum Suit: string
{
    case Hearts = 'h/"é';
    case Spades = '';
}
