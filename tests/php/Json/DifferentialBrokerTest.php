<?php

/**
 * The bytes on the wire equal json_encode()'s, and the values read equal json_decode()'s, for thousands of generated
 * values, invalid ones among them.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Json;

use ArrayObject;
use Closure;
use PHPUnit\Framework\Attributes\DataProvider;
use Throwable;
use Toporia\Realtime\Exception\EncodingException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Tests\Support\BrokerTestCase;
use Toporia\Realtime\Tests\Support\Json\Computed;
use Toporia\Realtime\Tests\Support\RandomValue;

final class DifferentialBrokerTest extends BrokerTestCase
{
    private const THROUGH_KAFKA = 4000;
    private const IN_MEMORY = 20_000;

    public function testThroughKafkaByteForByte(): void
    {
        $this->createTopic($this->topic(), 8);
        $broker = $this->broker();
        $random = new RandomValue(20_261_121);
        $expected = [];
        $refused = 0;
        for ($i = 0; $i < self::THROUGH_KAFKA; $i++) {
            $value = $random->next();
            $before = Realtime::stats()['messages_produced'];
            if (RandomValue::isRefused($value)) {
                $refused++;
                self::assertRefused($value, static fn () => Realtime::broadcast('json', 'e', $value), "value $i");
                self::assertSame($before, Realtime::stats()['messages_produced'], "value $i sent nothing");
                continue;
            }
            $json = (string) json_encode($value);
            $id = Realtime::broadcast('json', 'e', $value);
            $expected[$id] = $json;
            if (!is_string($value) && $value !== null) {
                $broker->send($this->topic(), $value, "$i");
                $raw["$i"] = $json;
            }
        }
        Realtime::flush();
        self::assertGreaterThan(100, $refused, 'bad values were among them');

        foreach ($this->consumeAll($this->channelTopic('json'), count($expected), 30.0) as $record) {
            $payload = (string) $record->getPayload();
            $id = substr($payload, 7, 36);
            $json = $expected[$id];
            $data = $json === 'null' ? '' : ",\"data\":$json";
            $start = "{\"id\":\"$id\",\"type\":\"event\",\"channel\":\"json\",\"event\":\"e\"$data,\"timestamp\":";
            self::assertSame($start, substr($payload, 0, strlen($start)));
            self::assertMatchesRegularExpression('/\A\d{10}}\z/', substr($payload, strlen($start)));
            unset($expected[$id]);
        }
        self::assertSame([], $expected, 'all have arrived');
        foreach ($this->consumeAll($this->topic(), count($raw), 30.0) as $record) {
            self::assertSame($raw[$record->getKey()], $record->getPayload());
            self::assertSameData($raw[$record->getKey()], static fn () => $record->getData(), true);
            unset($raw[$record->getKey()]);
        }
        self::assertSame([], $raw);
    }

    /** @dataProvider seeds */
    #[DataProvider('seeds')]
    public function testMessagesByteForByteAndValueForValue(int $seed): void
    {
        self::compare($seed, self::IN_MEMORY);
    }

    /** @return list<array{int}> */
    public static function seeds(): array
    {
        return [[1], [7], [1763700000]];
    }

    public function testTextsOfEveryLengthAndNumbersOfEverySize(): void
    {
        $values = [];
        for ($length = 0; $length <= 70; $length++) {
            $text = substr(str_repeat('abcdefghijklmnopqrstuvwxyz', 3), 0, $length);
            $values[] = [$text => $text];
            for ($place = 0; $place < $length; $place++) {
                foreach (["\0", "\x1f", '"', '/', '\\', "\x7f", "\u{e9}", "\u{1F600}"] as $special) {
                    $changed = substr_replace($text, $special, $place, 1);
                    $values[] = [$changed => $changed];
                }
            }
        }
        for ($power = 0; $power < 19; $power++) {
            foreach ([10 ** $power - 1, 10 ** $power, 10 ** $power + 1, 7 * 10 ** $power] as $number) {
                $values[] = [$number => [$number, -$number]];
                $values[] = [$number / 10, -$number / 100, $number / 1000, $number / 10_000, $number + 0.5, (float) $number];
            }
        }
        $values[] = [PHP_INT_MIN, PHP_INT_MAX, -0.0, 0.0, 0.001, 0.0009, 2.0 ** 53, 2.0 ** 53 - 1, 5e-324, PHP_FLOAT_MAX];
        foreach ($values as $value) {
            $json = (string) json_encode($value);
            self::assertStringContainsString(",\"data\":$json,\"timestamp\":", Message::event('c', 'e', $value)->toJson());
        }
    }

    public function testWithAnotherPrecision(): void
    {
        $code = <<<'PHP'
            $random = new Toporia\Realtime\Tests\Support\RandomValue(99);
            for ($i = 0; $i < 3000; $i++) {
                // Many floats: the setting is about them.
                $value = [$random->next(), $random->float(), $random->float()];
                if (Toporia\Realtime\Tests\Support\RandomValue::isRefused($value)) {
                    continue;
                }
                $message = Message::event('json', 'e', $value);
                if (!str_contains($message->toJson(), ',"data":' . json_encode($value) . ',"timestamp":')) {
                    exit("value $i: " . $message->toJson() . "\nnot " . json_encode($value));
                }
            }
            echo ini_get('serialize_precision'), ' ', json_encode(0.1 + 0.2);
            PHP;
        $exact = '0.30000000000000004';
        foreach (['17' => $exact, '14' => '0.3', '1' => '0.3', '-1' => $exact] as $n => $f) {
            $result = $this->runPhp($code, ['ini' => ['serialize_precision' => (string) $n]])->assertExit();
            self::assertSame("$n $f", $result->stdout, $result->stderr);
        }
    }

    /** @dataProvider computed */
    #[DataProvider('computed')]
    public function testAnObjectThatEncodesItself(Closure $compute): void
    {
        $make = static function () use ($compute): array {
            $object = new Computed($compute);
            $object->inside = new Computed($compute);

            return ['one' => $object, 'again' => [$object, $object->inside], 'new' => new Computed($compute)];
        };
        $json = json_encode($make());
        if ($json === false) {
            self::assertRefused($make(), static fn () => Message::event('json', 'e', $make()), 'the object');
        } else {
            self::assertStringContainsString(",\"data\":$json,", Message::event('json', 'e', $make())->toJson());
        }
        // Inside json_encode() and inside of ours, each sees the other.
        $ours = static fn (Computed $object): string => Message::event('json', 'e', $object)->getId();
        self::assertRefused(new Computed($ours), static fn () => json_encode(new Computed($ours)), 'ours in theirs');
    }

    /** @return array<string, array{Closure(Computed): mixed}> */
    public static function computed(): array
    {
        $partial = JSON_PARTIAL_OUTPUT_ON_ERROR;

        return [
            'the object' => [static fn (Computed $object): mixed => $object],
            'its JSON' => [static fn (Computed $object): mixed => json_encode($object)],
            'its JSON and the error' => [
                static fn (Computed $object): mixed => [json_encode($object), json_last_error()],
            ],
            'partial JSON' => [static fn (Computed $object): mixed => json_encode([$object], $partial)],
            'the JSON of what is inside' => [static fn (Computed $object): mixed => json_encode($object->inside)],
            'its properties' => [static fn (Computed $object): mixed => get_object_vars($object)],
            'an array with it' => [static fn (Computed $object): mixed => [$object]],
            'an object with it' => [static fn (Computed $object): mixed => new ArrayObject([$object->inside])],
            'itself, then text' => [static fn (Computed $object): mixed => $object->calls > 1 ? 'text' : $object],
        ];
    }

    public function testAnErrorNamesAKeyThatWasRemovedWhileItsValueWasEncoded(): void
    {
        $key = str_repeat('k', 9);
        $object = new ArrayObject();
        $object[$key] = new Computed(static function () use ($object): string {
            foreach (array_keys($object->getArrayCopy()) as $key) {
                unset($object[$key]);
            }
            unset($key);
            // They would take the memory of the key.
            for ($i = 0; $i < 200; $i++) {
                $kept[] = str_repeat('z', 9);
            }

            return "\xff";
        });
        unset($key);
        $this->expectException(EncodingException::class);
        $this->expectExceptionMessage('data.kkkkkkkkk as JSON');
        Message::event('json', 'e', $object);
    }

    public function testReceivedDataEqualsJsonDecode(): void
    {
        $documents = ['0', '-0', '-0.0', '1e2', '1E+2', '0.1e-7', '1e400', '-1e400', '9223372036854775807',
            '9223372036854775808', '-9223372036854775809', '123456789012345678901234567890', '""', '"\u0000"',
            '"\ud83d\ude00"', '[]', '{}', '{"":1}', '{"a":1,"a":2}', '{"0":1,"1":2}', '{"-1":1,"01":2}',
            '[[[[1]]]]', ' [ 1 , 2 ] ', '{"a\u0000b":1}', '{"\u0000a":1}', 'true', 'false', '1.0', '1.10',
            '0.30000000000000004', '5e-324', '2.5e-324', '1.7976931348623159e308', '"\/\b\f\n\r\t"',
            str_repeat('[', 511) . str_repeat(']', 511)];
        foreach ($documents as $json) {
            $message = Message::fromJson("{\"id\":\"i\",\"type\":\"event\",\"data\":$json,\"timestamp\":1}");
            self::assertSameData(trim($json), static fn () => $message->getData());
        }
        $random = mt_srand(5);
        for ($i = 0; $i < 3000; $i++) {
            // Valid JSON with a few changed bytes: sometimes still valid, mostly not.
            $json = (string) json_encode((new RandomValue($i, 0))->value(3), JSON_PARTIAL_OUTPUT_ON_ERROR);
            for ($changes = mt_rand(1, 3); $changes > 0 && $json !== ''; $changes--) {
                $json[mt_rand(0, strlen($json) - 1)] = '{}[]",:\\u0123456789.eE+-tfn '[mt_rand(0, 29)] ?? ' ';
            }
            $envelope = "{\"id\":\"i\",\"type\":\"event\",\"data\":$json,\"timestamp\":1}";
            $php = json_decode($envelope, true);
            $known = ['id', 'type', 'data', 'timestamp'];
            if ($php === null) {
                self::assertBroken($envelope);
            } elseif (array_keys($php) === $known && $php['timestamp'] === 1 && $php['type'] === 'event') {
                $ours = Message::fromJson($envelope)->getData();
                self::assertSame(serialize($php['data']), serialize($ours), $envelope);
            }
        }
    }

    private static function compare(int $seed, int $count): void
    {
        $random = new RandomValue($seed);
        for ($i = 0; $i < $count; $i++) {
            $value = $random->next();
            $what = "seed $seed, value $i";
            if (RandomValue::isRefused($value)) {
                self::assertRefused($value, static fn () => Message::event('json', 'e', $value), $what);
                continue;
            }
            $json = (string) json_encode($value);
            $message = Message::event('json', 'e', $value);
            $data = $json === 'null' ? '' : ",\"data\":$json";
            $expected = '{"id":"' . $message->getId() . '","type":"event","channel":"json","event":"e"' . $data
                . ',"timestamp":' . $message->getTimestamp() . '}';
            self::assertTrue($expected === $message->toJson(), "$what: " . $message->toJson() . "\nnot $expected");
            self::assertSameData($json, static fn () => $message->getData());
        }
    }

    /** Equal to json_decode(), to the bit; where it refuses (depth), so do we. */
    private static function assertSameData(string $json, callable $data, bool $raw = false): void
    {
        $expected = json_decode($json, true);
        if ($expected === null && $json !== 'null') {
            // A raw record that is not valid JSON for PHP has no data; an envelope's data is refused.
            try {
                $decoded = $data();
                self::assertTrue($raw && $decoded === null, "$json was decoded");
            } catch (EncodingException) {
                self::assertFalse($raw, "$json was refused");
            }

            return;
        }
        self::assertTrue(serialize($expected) === serialize($data()), "$json was decoded differently");
    }

    private static function assertBroken(string $envelope): void
    {
        try {
            Message::fromJson($envelope)->getData();
        } catch (EncodingException $e) {
            self::assertNotSame('', $e->getMessage());

            return;
        }
        self::fail("taken, though json_decode() refuses it: $envelope");
    }

    /** An EncodingException, or the exception that jsonSerialize() threw. */
    private static function assertRefused(mixed $value, callable $call, string $what): void
    {
        try {
            $php = null;
            json_encode($value);
        } catch (Throwable $php) {
        }
        try {
            $call();
        } catch (Throwable $e) {
            // Of several reasons, either may come first.
            if ($php === null || $e instanceof EncodingException) {
                self::assertSame(EncodingException::class, get_class($e), "$what: " . $e->getMessage());
            } else {
                self::assertSame([get_class($php), $php->getMessage()], [get_class($e), $e->getMessage()], $what);
            }

            return;
        }
        self::fail("$what was not refused");
    }
}
