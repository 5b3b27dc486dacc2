<?php

/**
 * Messages are compared by content.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Producing;

use PHPUnit\Framework\ExpectationFailedException;
use PHPUnit\Framework\TestCase;
use Toporia\Realtime\Message;

final class CompareMessagesEmbeddedTest extends TestCase
{
    private const ENVELOPE = '{"id":"1","type":"event","channel":"a","event":"e","data":{"n":1,"m":2},"timestamp":5}';

    public function testEqualContentIsEqual(): void
    {
        $message = Message::fromJson(self::ENVELOPE);
        self::assertTrue($message == Message::fromJson(self::ENVELOPE));
        self::assertTrue($message == Message::fromArray($message->toArray()));
        self::assertEquals($message, Message::fromJson(self::ENVELOPE));
        self::assertContainsEquals($message, [Message::fromJson(self::ENVELOPE)]);
    }

    public function testOtherContentDiffers(): void
    {
        $message = Message::fromJson(self::ENVELOPE);
        $others = [
            Message::fromJson(str_replace('"1"', '"2"', self::ENVELOPE)),
            Message::fromJson(str_replace('"a"', '"b"', self::ENVELOPE)),
            Message::fromJson(str_replace('"e"', '"f"', self::ENVELOPE)),
            Message::fromJson(str_replace('"n":1', '"n":2', self::ENVELOPE)),
            Message::fromJson(str_replace(':5', ':6', self::ENVELOPE)),
            $message->withKey('k'),
            $message->withHeaders(['h' => 'v']),
        ];
        foreach ($others as $index => $other) {
            self::assertFalse($message == $other, "number $index");
            self::assertFalse($message < $other || $message > $other, "number $index has no order");
            self::assertFalse(in_array($other, [$message]), "number $index");
            try {
                self::assertEquals($message, $other);
            } catch (ExpectationFailedException) {
                continue;
            }
            self::fail("PHPUnit takes number $index for equal.");
        }
    }

    public function testAnotherClassIsNeverEqual(): void
    {
        self::assertFalse(Message::fromJson(self::ENVELOPE) == new \stdClass());
        self::assertFalse(new \stdClass() == Message::fromJson(self::ENVELOPE));
        self::assertFalse(Message::fromJson(self::ENVELOPE) == null);
    }

    public function testAnArrayHasTheContent(): void
    {
        $array = (array) Message::fromJson(self::ENVELOPE);
        self::assertSame(['id' => '1', 'data' => ['n' => 1, 'm' => 2]], array_intersect_key($array, ['id' => 0, 'data' => 0]));
    }
}
