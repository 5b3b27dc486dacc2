<?php

/**
 * A Message created and read in PHP: the same with the extension and with its stand-in.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Producing;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use stdClass;
use Toporia\Realtime\Exception\EncodingException;
use Toporia\Realtime\Message;

final class MessageUnitTest extends TestCase
{
    private const JSON = '{"id":"msg_65","type":"event","channel":"user.1","event":"order.created",'
        . '"data":{"price":1.50,"url":"http:\/\/x"},"timestamp":1763700000}';

    public function testTheEnvelopeHasItsKeysInOrder(): void
    {
        $data = ['id' => 7, 'price' => 1.0, 'name' => 'Lê/n', 'o' => new stdClass()];
        $message = Message::event('user.1', 'order.created', $data);
        self::assertSame(
            sprintf(
                '{"id":"%s","type":"event","channel":"user.1","event":"order.created",'
                . '"data":{"id":7,"price":1,"name":"L\u00ea\/n","o":{}},"timestamp":%d}',
                $message->getId(),
                $message->getTimestamp()
            ),
            $message->toJson()
        );
    }

    public function testNullsAreLeftOut(): void
    {
        $message = Message::event(null, 'ping');
        self::assertSame(['id', 'type', 'event', 'timestamp'], array_keys($message->toArray()));
        self::assertStringNotContainsString('data', $message->toJson());
        self::assertNull($message->getData());
    }

    public function testIdsAreUuidsInTheOrderOfTheirCreation(): void
    {
        $ids = [];
        for ($i = 0; $i < 5000; $i++) {
            $ids[] = Message::event('a', 'b')->getId();
        }
        $sorted = $ids;
        sort($sorted, SORT_STRING);
        self::assertSame($sorted, $ids);
        self::assertCount(5000, array_unique($ids));
        $uuid = '/\A[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\z/';
        self::assertMatchesRegularExpression($uuid, $ids[0]);
        $ms = hexdec(substr($ids[0], 0, 8) . substr($ids[0], 9, 4));
        self::assertEqualsWithDelta(microtime(true) * 1000, $ms, 5000);
    }

    public function testTheTimestampIsUnixSeconds(): void
    {
        self::assertEqualsWithDelta(time(), Message::event('a', 'b')->getTimestamp(), 2);
    }

    public function testParsedAndSerialisedAgainItKeepsItsBytes(): void
    {
        $message = Message::fromJson(self::JSON);
        self::assertSame(self::JSON, $message->toJson());
        self::assertSame('msg_65', $message->getId());
        self::assertSame('event', $message->getType());
        self::assertSame('user.1', $message->getChannel());
        self::assertSame('order.created', $message->getEvent());
        self::assertSame(['price' => 1.5, 'url' => 'http://x'], $message->getData());
        self::assertSame(1763700000, $message->getTimestamp());
    }

    public function testTheOrderOfTheKeysDoesNotMatterForReading(): void
    {
        $json = " {\"timestamp\" : 5,\n\"data\": [1, {\"id\":\"no\"}] , \"event\":\"a\\u0062\",\"id\":\"i\"} ";
        $message = Message::fromJson($json);
        self::assertSame(['i', 'ab', 5], [$message->getId(), $message->getEvent(), $message->getTimestamp()]);
        self::assertSame([1, ['id' => 'no']], $message->getData());
    }

    public function testArraysRoundTrip(): void
    {
        $message = Message::fromJson(self::JSON);
        self::assertSame(['id', 'type', 'channel', 'event', 'data', 'timestamp'], array_keys($message->toArray()));
        self::assertSame($message->toArray(), Message::fromArray($message->toArray())->toArray());
    }

    public function testAnArrayMayLeaveOutGeneratedFields(): void
    {
        $message = Message::fromArray(['channel' => 'user.1', 'event' => 'a', 'data' => ['x' => 1]]);
        self::assertSame('event', $message->getType());
        self::assertNotSame('', $message->getId());
        self::assertEqualsWithDelta(time(), $message->getTimestamp(), 2);
        self::assertSame(['x' => 1], $message->getData());
    }

    public function testDataIsWhatEveryReceiverSees(): void
    {
        $message = Message::event('a', 'b', (object) ['list' => new stdClass(), 'float' => 2.0]);
        self::assertSame(['list' => [], 'float' => 2], $message->getData());
    }

    public function testItIsImmutable(): void
    {
        $message = Message::event('a', 'b', 1);
        $copy = $message->withKey('k')->withHeaders(['x' => 'y']);
        self::assertNull($message->getKey());
        self::assertSame([], $message->getHeaders());
        self::assertSame('k', $copy->getKey());
        self::assertSame(['x' => 'y'], $copy->getHeaders());
        self::assertSame($message->toJson(), $copy->toJson());
        self::assertNull($copy->withKey(null)->getKey());
    }

    public function testAMessageThatWasNotReceivedHasNoCoordinates(): void
    {
        $message = Message::event('a', 'b');
        self::assertNull($message->getTopic());
        self::assertNull($message->getPartition());
        self::assertNull($message->getOffset());
        self::assertNull($message->getPayload());
        self::assertSame(1, $message->getAttempt());
    }

    public function testJsonEncodeGivesTheEnvelope(): void
    {
        $message = Message::event('a', 'b', ['x' => 1]);
        self::assertSame($message->toArray(), json_decode((string) json_encode($message), true));
    }

    /** @dataProvider notJson */
    #[DataProvider('notJson')]
    public function testUnencodableDataIsRefusedImmediately(mixed $data): void
    {
        $this->expectException(EncodingException::class);
        Message::event('a', 'b', $data);
    }

    /** @return array<string, array{mixed}> */
    public static function notJson(): array
    {
        $recursive = [];
        $recursive['self'] = &$recursive;
        $deep = 1;
        for ($i = 0; $i < 513; $i++) {
            $deep = [$deep];
        }

        return [
            'broken UTF-8' => ["\xff"],
            'NAN' => [[NAN]],
            'INF' => [INF],
            'recursion' => [$recursive],
            'a resource' => [STDIN],
            'too deep' => [$deep],
        ];
    }

    public function testTheDeepestDataThatJsonDecodeAcceptsRoundTrips(): void
    {
        $deep = [];
        for ($i = 0; $i < 510; $i++) {
            $deep = [$deep];
        }
        self::assertSame($deep, Message::fromJson(Message::event('a', 'b', $deep)->toJson())->getData());
    }

    /** @dataProvider notAnEnvelope */
    #[DataProvider('notAnEnvelope')]
    public function testAnInvalidEnvelopeIsRefused(string $json): void
    {
        try {
            Message::fromJson($json);
            self::fail('Nothing was thrown.');
        } catch (EncodingException $e) {
            self::assertSame(1, preg_match('/./u', $e->getMessage()));
        }
    }

    /** @return array<string, array{string}> */
    public static function notAnEnvelope(): array
    {
        return [
            'nothing' => [''],
            'text' => ['hello'],
            'text in JSON' => ['"x"'],
            'null' => ['null'],
            'a list' => ['[1,2]'],
            'a number' => ['1'],
            'cut off' => ['{"id":"a","event":"b"'],
            'cut off in a string' => ['{"id":"a'],
            'more after it' => ['{"event":"a"} x'],
            'a channel that is not a string' => ['{"channel":5,"event":"a"}'],
            'a list as the channel' => ['{"channel":[],"event":"a"}'],
            'a number as the event' => ['{"event":5}'],
            'a time in words' => ['{"event":"a","timestamp":"now"}'],
            'an unknown type' => ['{"type":"party","event":"a"}'],
            'invalid UTF-8' => ["{\"id\":\"\xff\"}"],
            'a lone surrogate' => ['{"id":"\ud800"}'],
            'single quotes' => ["{'id':'i'}"],
            'a trailing comma' => ['{"id":"i",}'],
            'nested too deep' => ['{"id":"i","data":' . str_repeat('[', 600) . str_repeat(']', 600) . ',}'],
            'a control character' => ["{\"id\":\"a\nb\"}"],
            'NaN' => ['{"id":"i","data":NaN}'],
        ];
    }

    public function testBrokenDataIsReportedWhenItIsRead(): void
    {
        $message = Message::fromJson('{"id":"i","event":"a","channel":"c","data":{"x":tru}}');
        self::assertSame('a', $message->getEvent());
        $this->expectException(EncodingException::class);
        $message->getData();
    }
}
