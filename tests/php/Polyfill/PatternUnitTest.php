<?php

/**
 * Patterns of channels and events match exactly as in the extension.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Polyfill;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Toporia\Realtime\Support\Pattern;

final class PatternUnitTest extends TestCase
{
    /** @dataProvider cases */
    #[DataProvider('cases')]
    public function testMatches(string $pattern, string $name, bool $expected): void
    {
        self::assertSame($expected, Pattern::matches($pattern, $name));
    }

    /** @return list<array{string, string, bool}> */
    public static function cases(): array
    {
        return [
            ['user.1', 'user.1', true],
            ['user.1', 'user.11', false],
            ['user.1', 'userx1', false],
            ['user.*', 'user.1', true],
            ['user.*', 'user.', false],
            ['user.*', 'user', false],
            ['user.*', 'user.1.orders', false],
            ['user.**', 'user.1.orders', true],
            ['user.**', 'user.', true],
            ['user.**', 'user', false],
            ['*.created', 'order.created', true],
            ['*.created', 'shop.order.created', false],
            ['**.created', 'shop.order.created', true],
            ['order.*.paid', 'order.7.paid', true],
            ['order.*.paid', 'order.7.8.paid', false],
            ['user-*', 'user-7', true],
            ['**', '', true],
            ['*', "a\nb", true],
            ['a+b.*', 'a+b.c', true],
            ['a+b.*', 'aab.c', false],
        ];
    }

    public function testTheExactNameIsPickedBeforeTheFirstPattern(): void
    {
        $patterns = ['order.**', 'order.*', 'order.paid'];
        self::assertSame('order.paid', Pattern::pick($patterns, 'order.paid'));
        self::assertSame('order.**', Pattern::pick($patterns, 'order.created'));
        self::assertNull(Pattern::pick($patterns, 'user.created'));
    }
}
