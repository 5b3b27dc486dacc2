<?php

/**
 * Idempotency keys: readable where possible, never equal for two different messages.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Idempotency;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Idempotency\Key;

final class KeyUnitTest extends TestCase
{
    public function testAReadableKeyStaysAsItIs(): void
    {
        self::assertSame('orders:019a-7', Key::make('orders', '019a-7'));
        self::assertSame('a:' . str_repeat('k', 188), Key::make('a', str_repeat('k', 188)), '190 bytes');
    }

    public function testAnythingElseIsHashed(): void
    {
        foreach ([str_repeat('k', 189), 'with space', "line\n", "\0", 'naïve', "\xff", "tail\n"] as $key) {
            $made = Key::make('a', $key);
            self::assertSame('a:sha256:' . hash('sha256', $key), $made);
            self::assertLessThanOrEqual(Key::MAX_BYTES, strlen(Key::make(str_repeat('s', 64), $key)));
        }
    }

    public function testAKeyThatLooksLikeAHashCollidesWithNone(): void
    {
        $long = str_repeat('k', 500);
        $pretender = 'sha256:' . hash('sha256', $long);
        self::assertNotSame(Key::make('a', $long), Key::make('a', $pretender));
    }

    public function testKeysThatDifferStayDifferent(): void
    {
        $keys = ['a', 'A', 'a ', ' a', 'a:b', "a\0", '0', '00', 'é', "e\u{301}"];
        $made = array_map(static fn (string $key): string => Key::make('s', $key), $keys);
        self::assertCount(count($keys), array_unique($made));
        self::assertNotSame(Key::make('a', 'b:c'), Key::make('a.b', 'c'));
    }

    /** @dataProvider badScopes */
    #[DataProvider('badScopes')]
    public function testAScopeIsAPlainWord(string $scope): void
    {
        $this->expectException(ConfigurationException::class);
        $this->expectExceptionMessage('is not a valid scope');
        Key::checkScope($scope);
    }

    /** @return array<string, array{string}> */
    public static function badScopes(): array
    {
        return [
            'empty' => [''],
            'colon' => ['a:b'],
            'space' => ['a b'],
            'line end' => ["a\n"],
            'too long' => [str_repeat('a', 65)],
            'not ASCII' => ['é'],
        ];
    }
}
