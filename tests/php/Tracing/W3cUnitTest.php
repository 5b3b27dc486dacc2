<?php

/**
 * The grammar of W3C Trace Context and Baggage.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Tracing;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Toporia\Realtime\Message;
use Toporia\Realtime\Tracing\Hook;
use Toporia\Realtime\Tracing\Tracing;
use Toporia\Realtime\Tracing\W3c;

final class W3cUnitTest extends TestCase
{
    private const PARENT = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';

    /** @dataProvider values */
    #[DataProvider('values')]
    public function testTheGrammar(string $name, string $value, bool $valid): void
    {
        self::assertSame($valid, W3c::isValid($name, $value));
    }

    /** @return iterable<string, array{string, string, bool}> */
    public static function values(): iterable
    {
        $zeros = str_repeat('0', 32);
        $values = [
            'traceparent' => [
                self::PARENT => true,
                strtoupper(self::PARENT) => false,
                self::PARENT . "\n" => false,
                self::PARENT . '-more' => false,
                'cc' . substr(self::PARENT, 2) . '-what-the-future-brings' => true,
                'ff' . substr(self::PARENT, 2) => false,
                "00-$zeros-b7ad6b7169203331-01" => false,
                '00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01' => false,
                '00-short-b7ad6b7169203331-01' => false,
                '' => false,
            ],
            'tracestate' => [
                'rojo=00f067aa0ba902b7,congo=t61rcWkgMzE' => true,
                'a=1, ,b=2,' => true,
                '1tenant@vendor=x' => true,
                'a=1,a=2' => false,
                'A=1' => false,
                'a=' => false,
                'a=1=2' => false,
                "a=1\x7f" => false,
                ',' => false,
                implode(',', array_map(static fn (int $i): string => "k$i=v", range(1, 32))) => true,
                implode(',', array_map(static fn (int $i): string => "k$i=v", range(1, 33))) => false,
            ],
            'baggage' => [
                'userId=alice' => true,
                'a=1;secure;p=2 , b = %20' => true,
                'a=with space' => false,
                'a="x"' => false,
                'noValue' => false,
                "a=\u{fc}" => false,
                'a=' . str_repeat('x', 8190) => true,
                'a=' . str_repeat('x', 8191) => false,
            ],
            'b3' => ['80f198ee56343ba8-e457b5a2e4d86bd1-1' => true, "a\r\nb" => false],
            'two words' => ['x' => false],
        ];
        foreach ($values as $name => $list) {
            foreach ($list as $value => $valid) {
                yield "$name: " . substr((string) $value, 0, 60) . ' ' . strlen((string) $value) => [$name, (string) $value, $valid];
            }
        }
    }

    public function testATracestateWithoutItsTraceparentIsLeftOut(): void
    {
        self::assertSame([['baggage' => 'a=1'], ['traceparent']], W3c::filter([
            'traceparent' => 'nonsense', 'tracestate' => 'a=1', 'baggage' => 'a=1', 'b3' => null, 'x' => '',
        ]));
    }

    public function testTheContextOfAMessageContainsValidHeadersOnly(): void
    {
        $message = Message::event('user.1', 'paid')->withHeaders([
            'traceparent' => self::PARENT, 'tracestate' => 'NO', 'baggage' => 'a=1', 'other' => 'x',
        ]);
        self::assertSame(['traceparent' => self::PARENT, 'baggage' => 'a=1'], Tracing::context($message));
        self::assertSame([], Tracing::context(Message::event('user.1', 'paid')));
    }

    public function testHeadersSetByTheCallerStay(): void
    {
        $ours = ['traceparent' => 'p', 'tracestate' => 's', 'baggage' => 'b'];
        self::assertSame(['baggage' => 'b'], Hook::withoutCallerHeaders($ours, ['traceparent' => 'own']));
        self::assertSame(['traceparent' => 'p', 'tracestate' => 's'], Hook::withoutCallerHeaders($ours, ['baggage' => 'own']));
    }
}
