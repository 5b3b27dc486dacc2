<?php

/**
 * Realtime::broadcast(): its arguments, the envelope it writes, the key and the headers of the record.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Producing;

use ArgumentCountError;
use PHPUnit\Framework\Attributes\DataProvider;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\EncodingException;
use Toporia\Realtime\Exception\InvalidChannelException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;
use TypeError;

final class BroadcastBrokerTest extends ProducingTestCase
{
    private const UUID7 = '/\A[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\z/';

    public function testTheEnvelopeOnTheWireByteForByte(): void
    {
        $before = time();
        $id = Realtime::broadcast('user.1', 'order.created', ['id' => 7, 'note' => "Giá/é\u{1F600}", 'total' => 1.0]);
        $after = time();
        Realtime::flush();
        $record = $this->only($this->channelTopic('user.1'));

        self::assertMatchesRegularExpression(self::UUID7, $id);
        $start = '{"id":"' . $id . '","type":"event","channel":"user.1","event":"order.created","data":'
            . '{"id":7,"note":"Gi\u00e1\/\u00e9\ud83d\ude00","total":1},"timestamp":';
        $payload = (string) $record->getPayload();
        self::assertSame($start, substr($payload, 0, strlen($start)));
        self::assertMatchesRegularExpression('/\A\d+}\z/', substr($payload, strlen($start)));
        $timestamp = (int) substr($payload, strlen($start));
        self::assertGreaterThanOrEqual($before, $timestamp);
        self::assertLessThanOrEqual($after, $timestamp);
        self::assertSame('user.1', $record->getKey());
        self::assertSame([], $record->getHeaders());
    }

    public function testChannelAndEventAreEscapedAsJsonEncodeDoes(): void
    {
        $id = Realtime::broadcast("phòng/1", "tạo\"\\/\u{1F600}");
        Realtime::flush();
        $payload = (string) $this->only($this->channelTopic("phòng/1"))->getPayload();
        $expected = json_encode(
            ['id' => $id, 'type' => 'event', 'channel' => 'phòng/1', 'event' => "tạo\"\\/\u{1F600}"]
        );
        self::assertStringStartsWith(substr((string) $expected, 0, -1) . ',"timestamp":', $payload);
    }

    public function testArgumentsCanBeNamed(): void
    {
        $id = Realtime::broadcast(
            except: '123.456',
            headers: ['x-tenant' => 'acme'],
            key: 'order-7',
            data: ['id' => 7],
            event: 'order.created',
            channel: 'user.1'
        );
        Realtime::flush();
        $record = $this->only($this->channelTopic('user.1'));
        $envelope = (array) json_decode((string) $record->getPayload(), true);
        self::assertSame(['id', 'type', 'channel', 'event', 'data', 'timestamp'], array_keys($envelope));
        self::assertSame([$id, 'order.created', ['id' => 7]], [
            $envelope['id'], $envelope['event'], $envelope['data'],
        ]);
        self::assertSame('order-7', $record->getKey());
        $headers = $record->getHeaders();
        ksort($headers);
        self::assertSame(['x-realtime-socket' => '123.456', 'x-tenant' => 'acme'], $headers);
    }

    public function testNullDataIsOmittedAndOtherEmptyDataIsNot(): void
    {
        foreach ([null, [], '', 0, false, (object) []] as $data) {
            Realtime::broadcast('empty', 'e', $data);
        }
        Realtime::broadcast('empty', 'e');
        Realtime::flush();
        $data = array_map(
            static fn (string $json) => preg_match('/"data":(.*),"timestamp"/', $json, $m) ? $m[1] : 'none',
            $this->payloads($this->channelTopic('empty'), 7)
        );
        sort($data);
        self::assertSame(['""', '0', '[]', 'false', 'none', 'none', '{}'], $data);
    }

    public function testAListOfChannelsGetsOneRecordEachWithOneId(): void
    {
        $id = Realtime::broadcast(['user.1', 'user.2', 'room-3'], 'news', ['n' => 1]);
        Realtime::flush();
        foreach (['user.1', 'user.2', 'room-3'] as $channel) {
            $record = $this->only($this->channelTopic($channel));
            self::assertSame($channel, $record->getKey());
            $envelope = (array) json_decode((string) $record->getPayload(), true);
            self::assertSame([$id, $channel, ['n' => 1]], [
                $envelope['id'], $envelope['channel'], $envelope['data'],
            ]);
        }
    }

    public function testAListOfChannelsWithOneBadNameSendsNothing(): void
    {
        $before = Realtime::stats()['messages_produced'];
        self::thrown(InvalidChannelException::class, static fn () => Realtime::broadcast(['ok', ''], 'e'));
        self::assertStringContainsString(
            'empty list',
            self::thrown(InvalidChannelException::class, static fn () => Realtime::broadcast([], 'e'))
        );
        self::assertSame($before, Realtime::stats()['messages_produced']);
    }

    public function testIdsAreUniqueAndSortInTheOrderOfTheCalls(): void
    {
        $ids = [];
        for ($i = 0; $i < 20_000; $i++) {
            $ids[] = Realtime::broadcast('ids', 'e', $i);
        }
        $sorted = $ids;
        sort($sorted, SORT_STRING);
        self::assertSame($sorted, $ids);
        self::assertCount(20_000, array_unique($ids));
        $milliseconds = hexdec(substr(str_replace('-', '', $ids[0]), 0, 12));
        self::assertEqualsWithDelta(microtime(true) * 1000, $milliseconds, 10_000);
        self::assertSame([], preg_grep(self::UUID7, $ids, PREG_GREP_INVERT));
        Realtime::flush();
    }

    public function testStringableArgumentsAreConvertedLikeInPhp(): void
    {
        $name = new class () {
            public function __toString(): string
            {
                return 'user.9';
            }
        };
        Realtime::broadcast($name, 'e', null, 42);
        Realtime::flush();
        $record = $this->only($this->channelTopic('user.9'));
        self::assertSame('42', $record->getKey());
    }

    public function testAnEmptyKeyIsAKey(): void
    {
        Realtime::broadcast('keys', 'e', null, '');
        Realtime::broadcast('keys', 'e', null, "\xff\0binary");
        Realtime::flush();
        $keys = array_map(
            static fn (Message $message) => $message->getKey(),
            $this->consumeAll($this->channelTopic('keys'), 2)
        );
        sort($keys);
        self::assertSame(['', "\xff\0binary"], $keys);
    }

    public function testHeadersOfEveryKind(): void
    {
        $headers = ['traceparent' => '00-ab-cd-01', 'n' => 5, 'flag' => true, 'bytes' => "\xff\0\x01", 'none' => null,
            'empty' => '', 'x-realtime-public' => '1', 7 => 'number'];
        Realtime::broadcast('headers', 'e', null, null, $headers);
        Realtime::flush();
        $received = $this->only($this->channelTopic('headers'))->getHeaders();
        ksort($received);
        $expected = ['7' => 'number', 'bytes' => "\xff\0\x01", 'empty' => '', 'flag' => '1', 'n' => '5', 'none' => null,
            'traceparent' => '00-ab-cd-01', 'x-realtime-public' => '1'];
        ksort($expected);
        self::assertSame($expected, $received);
    }

    /** @dataProvider refusedHeaders */
    #[DataProvider('refusedHeaders')]
    public function testReservedHeadersCannotBeForged(array $headers): void
    {
        Realtime::broadcast('headers', 'e', null, null, $headers);
        Realtime::flush();
        $received = $this->only($this->channelTopic('headers'))->getHeaders();
        self::assertArrayNotHasKey(array_key_first($headers), $received);
    }

    /** @return array<string, array{array<string, string>}> */
    public static function refusedHeaders(): array
    {
        return [
            'hops' => [['x-realtime-hops' => '0']],
            'dead letters' => [['x-original-topic' => 'x']],
            'attempts' => [['x-attempts' => '1']],
            'replay' => [['x-replay-group' => 'g']],
        ];
    }

    /** @dataProvider badSocketIds */
    #[DataProvider('badSocketIds')]
    public function testAnInvalidSocketIdIsRefused(string $id): void
    {
        $before = Realtime::stats()['messages_produced'];
        $message = self::thrown(
            ConfigurationException::class,
            static fn () => Realtime::broadcast('user.1', 'e', except: $id)
        );
        self::assertStringContainsString('socket id', $message);
        self::assertSame($before, Realtime::stats()['messages_produced']);
    }

    /** @return array<string, array{string}> */
    public static function badSocketIds(): array
    {
        return [
            'empty' => [''],
            'one number' => ['123'],
            'letters' => ['12a.5'],
            'three' => ['1.2.3'],
            'line end' => ["1.2\n"],
            'header' => ["1.2\r\nx: y"],
            'negative' => ['-1.2'],
            'other digits' => ['١.٢'],
        ];
    }

    public function testWrongTypesAreTypeErrorsThatNameTheArgument(): void
    {
        $calls = [
            '$channel' => static fn () => Realtime::broadcast(null, 'e'),
            '$event' => static fn () => Realtime::broadcast('c', []),
            '$key' => static fn () => Realtime::broadcast('c', 'e', null, []),
            '$headers' => static fn () => Realtime::broadcast('c', 'e', null, null, 'x'),
            '$except' => static fn () => Realtime::broadcast('c', 'e', null, null, [], (object) []),
        ];
        foreach ($calls as $argument => $call) {
            self::assertStringContainsString($argument, self::thrown(TypeError::class, $call));
        }
        self::thrown(ArgumentCountError::class, static fn () => Realtime::broadcast('c'));
        self::thrown(TypeError::class, static fn () => Realtime::broadcast([['nested']], 'e'));
    }

    public function testAnEventNeedsAName(): void
    {
        self::assertStringContainsString(
            'event',
            self::thrown(ConfigurationException::class, static fn () => Realtime::broadcast('c', ''))
        );
    }

    public function testUnencodableDataSendsNothing(): void
    {
        $loop = [];
        $loop['self'] = &$loop;
        $before = Realtime::stats()['messages_produced'];
        foreach ([NAN, INF, "\xff", ['a' => ["\xc3("]], fopen('php://memory', 'r'), $loop] as $data) {
            self::thrown(EncodingException::class, static fn () => Realtime::broadcast('bad', 'e', $data));
        }
        $message = self::thrown(
            EncodingException::class,
            static fn () => Realtime::broadcast('bad', 'e', ['items' => [1, ['name' => NAN]]])
        );
        self::assertStringContainsString('items[1].name', $message);
        self::assertSame($before, Realtime::stats()['messages_produced']);
    }
}
