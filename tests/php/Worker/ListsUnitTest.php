<?php

/**
 * The list options of realtime:kafka:dev and realtime:kafka:publish, and the notation of partitions.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Worker;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Toporia\Realtime\Worker\OptionValue;
use Toporia\Realtime\Worker\Text;
use Toporia\Realtime\Worker\UsageError;

final class ListsUnitTest extends TestCase
{
    public function testTopics(): void
    {
        self::assertSame(['orders' => 3, 'a.b_c-d' => 1], OptionValue::topics(['orders:3', 'a.b_c-d']));
        self::assertSame([], OptionValue::topics([]));
    }

    /** @dataProvider wrongTopics */
    #[DataProvider('wrongTopics')]
    public function testInvalidTopics(mixed $given): void
    {
        $this->expectException(UsageError::class);
        $this->expectExceptionMessage('--topic');
        OptionValue::topics([$given]);
    }

    /** @return list<array{mixed}> */
    public static function wrongTopics(): array
    {
        $wrong = ['', 'a b', 'a:0', 'a:-1', 'a:x', 'a:', 'a:1:2', ':3', '..', str_repeat('a', 250), 'é', [], null];

        return array_map(static fn (mixed $topic): array => [$topic], $wrong);
    }

    public function testHeaders(): void
    {
        self::assertSame(
            ['x-tenant' => '7', 'a' => 'b=c', 'empty' => '', 'url' => 'http://x'],
            OptionValue::headers(['x-tenant: 7', 'a=b=c', 'empty:', 'url:http://x'])
        );
    }

    /** @dataProvider wrongHeaders */
    #[DataProvider('wrongHeaders')]
    public function testInvalidHeaders(string $given): void
    {
        $this->expectException(UsageError::class);
        $this->expectExceptionMessage('is not name:value');
        OptionValue::headers([$given]);
    }

    /** @return list<array{string}> */
    public static function wrongHeaders(): array
    {
        return [[''], ['name'], [':value'], ['=value'], [' : value']];
    }

    public function testPartitionsAreWrittenAsRanges(): void
    {
        $list = static fn (string $topic, int ...$numbers): array => array_map(
            static fn (int $partition): array => ['topic' => $topic, 'partition' => $partition],
            $numbers
        );
        self::assertSame('a [0-2,5], b [1]', Text::partitions([...$list('b', 1), ...$list('a', 2, 0, 5, 1)]));
        self::assertStringContainsString('nothing', Text::partitions([]));
        $many = array_merge(...array_map(static fn (int $i) => $list("t$i", 0), range(10, 24)));
        self::assertStringEndsWith('t19 [0], and 5 more topics', Text::partitions($many));
    }

    public function testTextIsPrintable(): void
    {
        self::assertSame('a\n\u001b[31m"\\é', Text::printable("a\n\e[31m\"\\é"));
        self::assertSame("a\u{fffd}b?", Text::printable("a\xffb\x7f"));
        self::assertSame('abc', Text::shorten('abc', 3));
        self::assertSame('ab…', Text::shorten('abcd', 3));
        self::assertSame('éé…', Text::shorten('éééé', 3));
        self::assertSame('1 topic', Text::count(1, 'topic'));
        self::assertSame('1,200 topics', Text::count(1200, 'topic'));
    }
}
