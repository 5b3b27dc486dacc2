<?php

/**
 * The trait that removes a fake after each test, with and without the extension; its failure messages.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Testing;

use PHPUnit\Framework\AssertionFailedError;
use PHPUnit\Framework\Attributes\Depends;
use PHPUnit\Framework\TestCase;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Testing\ResetsRealtime;

final class ResetsRealtimeUnitTest extends TestCase
{
    use ResetsRealtime;

    public function testAFakeOfOneTest(): void
    {
        $fake = Realtime::fake();
        Realtime::broadcast('user.1', 'order.paid', ['id' => 7]);
        $fake->assertBroadcast('user.1', 'order.paid', static fn (Message $m): bool => $m->getData()['id'] === 7);
        self::assertTrue(Realtime::stats()['fake']);
    }

    /** @depends testAFakeOfOneTest */
    #[Depends('testAFakeOfOneTest')]
    public function testIsRemovedBeforeTheNext(): void
    {
        self::assertFalse(Realtime::stats()['fake']);
    }

    public function testTheHelpersAndTheManagerOfTheGuidesUseTheFake(): void
    {
        $fake = Realtime::fake();
        realtime()->broadcast(channel: 'user.1', event: 'one', data: ['a' => 1]);
        broadcast('user.1', 'two');
        \Toporia\Realtime\broadcast('user.1', 'three');
        $kafka = realtime()->broker('kafka');
        $kafka->publish('user.1', \Toporia\Framework\Realtime\Message::event('user.1', 'four', null));
        self::assertSame(
            ['one', 'two', 'three', 'four'],
            array_map(static fn (Message $m): ?string => $m->getEvent(), $fake->broadcasts('user.*'))
        );

        $received = [];
        $kafka->subscribe('chat.1', static function ($message) use (&$received): void {
            $received[] = $message->getEvent() . ' ' . $message->getData()['text'];
        });
        $fake->receive('chat.1', 'said', ['text' => 'hello']);
        $kafka->consume(1000, 100);
        self::assertSame(['said hello'], $received);
    }

    public function testAssertNothingBroadcastCanBeFilteredAndListsBroadcasts(): void
    {
        $fake = Realtime::fake();
        Realtime::broadcast('user.1', 'order.paid', ['id' => 7]);
        $fake->assertNothingBroadcast('admin.**');
        $fake->assertNothingBroadcast(null, 'order.refunded');
        $fake->assertNothingBroadcast('user.1', 'order.paid', static fn (Message $m): bool => $m->getData()['id'] === 8);
        foreach ([[], ['user.*'], ['user.1', 'order.paid'], [null, 'order.paid']] as $arguments) {
            try {
                $fake->assertNothingBroadcast(...$arguments);
            } catch (AssertionFailedError $e) {
                self::assertStringContainsString("'order.paid' on 'user.1' {\"id\":7}", $e->getMessage());
                continue;
            }
            self::fail('It was broadcast: ' . json_encode($arguments));
        }
    }
}
