<?php

/**
 * The description of a dead letter, and the message it is replayed as.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Dlq;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Toporia\Realtime\Dlq\Headers;
use Toporia\Realtime\Dlq\JsonFormatter;
use Toporia\Realtime\Dlq\Letter;
use Toporia\Realtime\Dlq\LetterDetails;
use Toporia\Realtime\Dlq\LetterId;
use Toporia\Realtime\Dlq\LetterTable;
use Toporia\Realtime\Dlq\NewestLetters;
use Toporia\Realtime\Dlq\Record;
use Toporia\Realtime\Dlq\TopicNames;
use Toporia\Realtime\Worker\OptionValue;
use Toporia\Realtime\Worker\Text;
use Toporia\Realtime\Worker\UsageError;

final class DeadLetterUnitTest extends TestCase
{
    private const ENVELOPE
        = '{"id":"019a","type":"event","channel":"user.1","event":"paid","data":{"a":1.0},"timestamp":1763700000}';

    public function testAnEventInAnEnvelope(): void
    {
        $letter = $this->letter(self::ENVELOPE, ['x-replays' => '2']);
        self::assertSame('dlq.orders/0/0', (string) $letter->letterId());
        self::assertSame(['019a', 'user.1', 'paid'], [$letter->messageId(), $letter->channel(), $letter->event()]);
        self::assertSame(['orders', 0, 3], [
            $letter->originalTopic, $letter->originalPartition, $letter->originalOffset,
        ]);
        self::assertSame(['app', 'App\OrderException', 'OrderException', 'no such order', 4, 2], [
            $letter->group, $letter->exceptionClass, $letter->shortClass(), $letter->reason,
            $letter->attempts, $letter->replays,
        ]);
    }

    /** @dataProvider strangers */
    #[DataProvider('strangers')]
    public function testARecordWithoutAnEnvelopeIsNamedByItsCoordinates(?string $value): void
    {
        $letter = $this->letter($value);
        self::assertSame('orders-0-3', $letter->messageId());
        self::assertNull($letter->channel());
        self::assertNull($letter->event());
    }

    /** @return array<string, array{string|null}> */
    public static function strangers(): array
    {
        return [
            'a tombstone' => [null],
            'empty' => [''],
            'text' => ['hello'],
            'other JSON with an id' => ['{"id":"7","name":"x"}'],
            'an id that is a number' => ['{"id":7,"type":"event","channel":"a"}'],
            'another type' => ['{"id":"7","type":"order","event":"x"}'],
            'broken' => ['{"id":"7","type":"event","channel":"a"'],
            'a list' => ['[{"id":"7"}]'],
        ];
    }

    public function testARecordOfAnotherProgram(): void
    {
        $letter = new Letter(new Record('dlq.orders', 1, 7, null, 'x', ['a' => null], 1763700000), new TopicNames());
        self::assertSame('orders', $letter->originalTopic);
        self::assertSame('dlq.orders-1-7', $letter->messageId());
        self::assertNull($letter->group);
        self::assertNull($letter->exceptionClass);
        self::assertNull($letter->shortClass());
        self::assertNull($letter->attempts);
        self::assertSame(0, $letter->replays);
        self::assertSame(1763700000, $letter->failedAt);
    }

    public function testATombstoneIsDistinguishedFromCoordinates(): void
    {
        $size = ['x-original-size' => '1048577'];
        self::assertNull($this->letter(null, [], 'key')->omittedBytes());
        self::assertSame(1048577, $this->letter(null, $size, 'key')->omittedBytes());
        self::assertNull($this->letter('', $size, 'key')->omittedBytes());
        $details = static fn (Letter $letter): string => implode("\n", (new LetterDetails($letter, null))->lines(0));
        self::assertStringContainsString('(none: a tombstone)', $details($this->letter(null)));
        self::assertStringContainsString('(omitted: its 1,048,577 bytes', $details($this->letter(null, $size)));
        self::assertArrayNotHasKey('x-original-size', Headers::forReplay($this->letter(null, $size), 'app'));
    }

    public function testAReplayHasTheRecordsHeadersAndTheFirstFailure(): void
    {
        $letter = $this->letter(self::ENVELOPE, [
            'own' => "\xff", 'x-realtime-public' => '1', 'x-realtime-hops' => '8', 'x-replays' => '1', 'empty' => '',
        ]);
        $headers = Headers::forReplay($letter, 'app');
        ksort($headers);
        self::assertSame([
            'empty' => '',
            'own' => "\xff",
            'x-original-group' => 'app',
            'x-original-offset' => '3',
            'x-original-partition' => '0',
            'x-original-timestamp' => '1763700000123',
            'x-original-topic' => 'orders',
            'x-realtime-public' => '1',
            'x-replay-group' => 'app',
            'x-replays' => '2',
        ], $headers);
    }

    public function testAReplayOfAFetchedRecordHasThatRecordsHeaders(): void
    {
        $original = new Record('orders', 0, 3, 'k', 'large', ['own' => 'o', 'x-replays' => '9'], 1763700000);
        $headers = Headers::forReplay($this->letter(null, [], null), 'app', $original);
        self::assertSame(['o', 'orders', '1'], [$headers['own'], $headers['x-original-topic'], $headers['x-replays']]);
    }

    public function testHandlesAreReadWithAndWithoutThePrefix(): void
    {
        $names = new TopicNames('dead');
        foreach (['dead.a.b/1/20', 'a.b/1/20'] as $text) {
            self::assertSame('dead.a.b/1/20', (string) LetterId::parse($text, $names));
        }
        foreach (['019a-7', 'a/b/1', 'a/1', 'a/1/2/3', '/1/2', 'a/-1/2', "a/1/2\n"] as $text) {
            self::assertNull(LetterId::parse($text, $names), $text);
        }
    }

    public function testTimes(): void
    {
        $now = 1763700000;
        self::assertNull(OptionValue::time('--since', null, $now));
        self::assertSame($now - 90, OptionValue::time('--since', '90s', $now));
        self::assertSame($now - 900, OptionValue::time('--since', '15M', $now));
        self::assertSame($now - 7 * 86400, OptionValue::time('--since', '7d', $now));
        self::assertSame(1700000000, OptionValue::time('--since', '1700000000', $now));
        self::assertSame(1769846400, OptionValue::time('--since', '2026-01-31T08:00:00Z', $now));
        self::assertSame(['5s', '1m', '59m', '2h', '3d', '0s'], array_map(
            static fn (int $ago): string => Text::age($now - $ago, $now),
            [5, 60, 3599, 7300, 3 * 86400, -5]
        ));
        foreach (['', 'yesterday', 'beginning', 'committed', '5w', '2026-02-30T00:00:00Z'] as $bad) {
            try {
                OptionValue::time('--since', $bad, $now);
                self::fail("'$bad' was taken for a time.");
            } catch (UsageError $e) {
                self::assertStringContainsString('--since', $e->getMessage());
            }
        }
    }

    public function testTheNewestAreKept(): void
    {
        $newest = new NewestLetters(3);
        foreach ([5, 1, 9, 7, 9, 2] as $i => $time) {
            $newest->add($time, ['n' => $i]);
        }
        self::assertSame(6, $newest->count());
        self::assertSame([4, 2, 3], array_column($newest->take(), 'n'));
        $all = new NewestLetters(0);
        $all->add(1, ['n' => 1]);
        $all->add(2, ['n' => 2]);
        self::assertSame([2, 1], array_column($all->take(), 'n'));
    }

    public function testJsonIsIndentedWithoutChangingIt(): void
    {
        $json = '{"a":1.0,"b":[],"c":{},"n":12345678901234567890,"a":[1,{"x":"\u00fc\/\u001b \\" {]"}],"t":true}';
        self::assertSame(<<<'TEXT'
            {
              "a": 1.0,
              "b": [],
              "c": {},
              "n": 12345678901234567890,
              "a": [
                1,
                {
                  "x": "ü/\u001b \" {]"
                }
              ],
              "t": true
            }
            TEXT, implode("\n", (array) JsonFormatter::lines($json)));
        self::assertSame(['7'], JsonFormatter::lines('7'));
        self::assertSame(['"x"'], JsonFormatter::lines(' "x" '));
        self::assertNull(JsonFormatter::lines('{"a":'));
        self::assertNull(JsonFormatter::lines(''));
        $large = json_encode(['x' => str_repeat('ä"\\', 500_000)], JSON_THROW_ON_ERROR);
        self::assertCount(3, (array) JsonFormatter::lines($large));
    }

    public function testTheTableFitsTheTerminalAndShowsNoControlCharacters(): void
    {
        $letter = $this->letter(self::ENVELOPE, ['x-exception-message' => "bad \e[31m\n" . str_repeat('long ', 50)]);
        $lines = LetterTable::lines([$letter->toArray(null)], time() + 120, 60);
        self::assertSame('AGE  LETTER          GROUP  EVENT  CLASS           ATTEMPTS…', $lines[0]);
        self::assertMatchesRegularExpression('~\A2m   dlq.orders/0/0  app    paid   OrderException  4~', $lines[1]);
        self::assertStringStartsWith('     019a  bad \u001b[31m\nlong', $lines[2]);
        foreach ($lines as $line) {
            self::assertLessThanOrEqual(60, mb_strlen($line));
        }
        $wide = LetterTable::lines([$letter->toArray(time() + 60)], time() + 120);
        self::assertStringEndsWith('REPLAYS  REPLAYED', $wide[0]);
        self::assertStringEndsWith('1m ago', $wide[1]);
    }

    public function testDetails(): void
    {
        $letter = $this->letter(self::ENVELOPE, ['own' => "\xff\e", 'x-failed-at' => '1763700100', 'x-replays' => '1']);
        $text = implode("\n", (new LetterDetails($letter, null))->lines(1763703700));
        foreach (
            [
            'Letter    dlq.orders/0/0', 'Id        019a', 'Event     paid on user.1',
            'Failed    2025-11-21T04:41:40Z (1h ago), after 4 attempts', 'Group     app',
            'Class     App\OrderException', 'Message   no such order',
            'Original  orders/0/3, sent 2025-11-21T04:40:00Z (1h ago)', 'Replays   1 time before this failure',
            'Replayed  no', 'Key       k', '  x-original-group: app', '    "a": 1.0',
            ] as $line
        ) {
            self::assertStringContainsString("$line", $text);
        }
        self::assertStringNotContainsString("\e", $text);
        self::assertStringNotContainsString('Thrown', $text);
        $array = (new LetterDetails($letter, 1763703000))->toArray();
        self::assertSame(1763703000, $array['replayed_at']);
        self::assertSame(base64_encode("\xff\e"), $array['headers']->own_base64);
        self::assertSame(self::ENVELOPE, $array['payload']);
        self::assertNull((new LetterDetails($this->letter(null), null))->toArray()['payload']);
    }

    public function testTheExceptionChainIsShownOneExceptionALine(): void
    {
        $chain = "App\\OrderException: no\nstock in /app/Order.php:7; caused by PDOException: gone in /app/Db.php:3; "
            . 'caused by Error in /app/Net.php:9';
        $details = new LetterDetails($this->letter(self::ENVELOPE, ['x-exception-chain' => $chain]), null);
        self::assertStringContainsString(
            "\nThrown    App\\OrderException: no\\nstock in /app/Order.php:7"
            . "\n          caused by PDOException: gone in /app/Db.php:3"
            . "\n          caused by Error in /app/Net.php:9\nOriginal  ",
            implode("\n", $details->lines(time()))
        );
        self::assertSame([
            "App\\OrderException: no\nstock in /app/Order.php:7", 'PDOException: gone in /app/Db.php:3',
            'Error in /app/Net.php:9',
        ], $details->toArray()['chain']);
        self::assertSame([], (new LetterDetails($this->letter(self::ENVELOPE), null))->toArray()['chain']);
    }

    /** @param array<string, string|null> $headers */
    private function letter(?string $value, array $headers = [], ?string $key = 'k'): Letter
    {
        return new Letter((new MemoryCluster())->letter('orders', $value, $headers, $key), new TopicNames());
    }
}
