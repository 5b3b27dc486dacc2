<?php

/**
 * The options of realtime:kafka:consume: their defaults, and a clear error for every invalid value.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Worker;

use DateTimeImmutable;
use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Toporia\Realtime\Worker\ConsumeOptions;
use Toporia\Realtime\Worker\FromPosition;
use Toporia\Realtime\Worker\UsageError;

final class OptionsUnitTest extends TestCase
{
    public function testDefaults(): void
    {
        $options = ConsumeOptions::fromArray(['channels' => ['user.1']]);
        self::assertSame('kafka', $options->broker);
        self::assertSame(100, $options->batchSize);
        self::assertSame(1000, $options->timeoutMs);
        self::assertSame(0, $options->maxMessages);
        self::assertFalse($options->stopWhenEmpty);
        self::assertNull($options->handler);
        self::assertNull($options->group);
        self::assertFalse($options->from->seeks());
        self::assertSame([0, 0], [$options->maxTime, $options->maxMemory]);
        self::assertFalse($options->json);
        self::assertNull($options->handlerLifetime);
    }

    public function testDeadLettersCanBeForcedAndDisabled(): void
    {
        $settings = static fn (array $raw): array => ConsumeOptions::fromArray(['channels' => 'a'] + $raw)->settings();
        self::assertSame([], $settings([]));
        self::assertSame(['dlq' => true], $settings(['dlq-enabled' => true]));
        self::assertSame(['dlq' => false], $settings(['no-dlq' => true]));
    }

    public function testValuesInTheTypesOfEachHost(): void
    {
        $options = ConsumeOptions::fromArray([
            'channels' => 'user.1, order.*',
            'broker' => 'events',
            'batch-size' => '0050',
            'timeout' => 250,
            'max-messages' => '10',
            'stop-when-empty' => true,
            'handler' => 'App\H',
            'handler-lifetime' => '300',
            'group' => 'g',
            'from' => 'end',
            'max-time' => '60',
            'max-memory' => '64M',
            'json' => true,
        ]);
        self::assertSame(['user.1', 'order.*'], $options->channels);
        self::assertSame(['events', 50, 250, 10], [
            $options->broker, $options->batchSize, $options->timeoutMs, $options->maxMessages,
        ]);
        self::assertSame([true, 'App\H', 'g', 'end', 60, 64 << 20, true], [
            $options->stopWhenEmpty, $options->handler, $options->group, $options->from->position(),
            $options->maxTime, $options->maxMemory, $options->json,
        ]);
        self::assertSame(300, $options->handlerLifetime);
    }

    /**
     * @dataProvider channels
     *
     * @param list<string> $expected
     */
    #[DataProvider('channels')]
    public function testChannelsAreACommaListOrRepeated(mixed $given, array $expected): void
    {
        self::assertSame($expected, ConsumeOptions::fromArray(['channels' => $given])->channels);
    }

    /** @return list<array{mixed, list<string>}> */
    public static function channels(): array
    {
        return [
            ['a,b', ['a', 'b']],
            [['a', 'b,c'], ['a', 'b', 'c']],
            [[' a , a ', 'a'], ['a']],
            [['1', '2'], ['1', '2']],
            [7, ['7']],
        ];
    }

    /**
     * @dataProvider wrong
     *
     * @param array<string, mixed> $raw
     */
    #[DataProvider('wrong')]
    public function testInvalidValuesAreNamed(array $raw, string $message): void
    {
        $this->expectException(UsageError::class);
        $this->expectExceptionMessage($message);
        ConsumeOptions::fromArray($raw + ['channels' => 'a']);
    }

    /** @return array<string, array{array<string, mixed>, string}> */
    public static function wrong(): array
    {
        return [
            'no channels' => [['channels' => []], '--channels is required'],
            'empty channels' => [['channels' => ''], "--channels='' has an empty name"],
            'a hole in the list' => [['channels' => 'a,,b'], "--channels='a,,b' has an empty name"],
            'a word for a number' => [['timeout' => 'soon'], "--timeout='soon' is not a whole number"],
            'a fraction' => [['timeout' => '1.5'], "--timeout='1.5' is not a whole number"],
            'nothing for a number' => [['timeout' => ''], "--timeout='' is not a whole number"],
            'spaces' => [['timeout' => ' 5'], "--timeout=' 5' is not a whole number"],
            'hexadecimal' => [['timeout' => '0x10'], '--timeout'],
            'true' => [['timeout' => true], "--timeout='1' is not a whole number"],
            'zero timeout' => [['timeout' => '0'], '--timeout=0 is out of range: it must be from 1 to 2147483647'],
            'negative batch' => [['batch-size' => '-5'], '--batch-size=-5 is out of range'],
            'zero batch' => [['batch-size' => 0], '--batch-size=0 is out of range'],
            'huge batch' => [['batch-size' => '1000001'], '--batch-size=1000001 is out of range'],
            'negative messages' => [['max-messages' => -1], '--max-messages=-1 is out of range: it must be at least'],
            'beyond 64 bits' => [['max-messages' => '99999999999999999999'], '--max-messages=99999999999999999999 is'],
            'negative time' => [['max-time' => '-1'], '--max-time=-1 is out of range'],
            'dead letters and none' => [['no-dlq' => true, 'dlq-enabled' => true], '--no-dlq and --dlq-enabled'],
            'a lifetime in words' => [['handler-lifetime' => 'long'], '--handler-lifetime'],
            'memory in words' => [['max-memory' => 'much'], "--max-memory='much' is not an amount of memory"],
            'no memory' => [['max-memory' => '0'], "--max-memory='0' is not an amount of memory"],
            'an empty handler' => [['handler' => ''], '--handler needs a value'],
            'an empty group' => [['group' => ' '], '--group needs a value'],
            'an empty broker' => [['broker' => ''], '--broker needs a value'],
            'an empty from' => [['from' => ''], '--from needs a value'],
            'an unknown word' => [['from' => 'start'], "--from='start' is not valid. Expected committed, beginning, end"],
            'words PHP would take' => [['from' => 'yesterday'], "--from='yesterday' is not valid"],
            'a day that is none' => [['from' => '2026-02-30'], "--from='2026-02-30' is not valid"],
            'an hour that is none' => [['from' => '2026-02-03T25:00:00Z'], "--from='2026-02-03T25:00:00Z' is not valid"],
            'escape codes' => [['from' => "\e[31m"], "--from='\\u001b[31m' is not valid"],
        ];
    }

    /** @dataProvider positions */
    #[DataProvider('positions')]
    public function testPositions(mixed $given, string|int $expected): void
    {
        $position = FromPosition::parse($given)->position();
        if (is_int($expected)) {
            self::assertInstanceOf(DateTimeImmutable::class, $position);
            self::assertSame($expected, $position->getTimestamp());
        } else {
            self::assertSame($expected, $position);
        }
    }

    /** @return list<array{mixed, string|int}> */
    public static function positions(): array
    {
        return [
            [null, 'committed'],
            ['committed', 'committed'],
            ['beginning', 'beginning'],
            ['end', 'end'],
            ['1763700000', 1763700000],
            [1763700000, 1763700000],
            ['0', 0],
            ['2025-11-21T04:40:00Z', 1763700000],
            ['2025-11-21 04:40:00+00:00', 1763700000],
            ['2025-11-21T11:40+07:00', 1763700000],
            ['2025-11-21T04:40:00.250Z', 1763700000],
        ];
    }

    /** @dataProvider amounts */
    #[DataProvider('amounts')]
    public function testMemory(mixed $given, int $bytes): void
    {
        self::assertSame($bytes, ConsumeOptions::fromArray(['channels' => 'a', 'max-memory' => $given])->maxMemory);
    }

    /** @return list<array{mixed, int}> */
    public static function amounts(): array
    {
        return [
            ['128', 128 << 20],
            [128, 128 << 20],
            ['128M', 128 << 20],
            ['1g', 1 << 30],
            ['2048K', 2 << 20],
            ['1GB', 1 << 30],
        ];
    }
}
