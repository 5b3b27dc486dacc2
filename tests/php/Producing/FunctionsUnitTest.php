<?php

/**
 * The namespaced functions behave like the classes, with a fake too.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Producing;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Toporia\Realtime\Exception\EncodingException;
use Toporia\Realtime\Exception\InvalidChannelException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Testing\RealtimeFake;
use Toporia\Realtime\Tests\Support\PublisherDouble;

use function Toporia\Realtime\broadcast;

final class FunctionsUnitTest extends TestCase
{
    protected function tearDown(): void
    {
        Realtime::restore();
    }

    public function testBroadcastTakesNamedArguments(): void
    {
        $fake = Realtime::fake();
        $id = broadcast(
            channel: 'user.1',
            event: 'paid',
            data: ['id' => 7],
            key: 'k',
            headers: ['a' => 'b'],
            except: '1.2'
        );
        $sent = $fake->sent()[0];
        self::assertSame($id, $sent->message?->getId());
        self::assertSame('k', $sent->key);
        self::assertSame('b', $sent->headers['a']);
        self::assertSame('1.2', $sent->headers['x-realtime-socket']);
        self::assertSame(['id' => 7], $sent->message?->getData());
    }

    public function testAListOfChannelsSendsOneToEachWithTheSameId(): void
    {
        $fake = Realtime::fake();
        $id = broadcast(['user.1', 'user.2'], 'paid');
        $messages = $fake->broadcasts();
        self::assertSame(['user.1', 'user.2'], array_map(static fn (Message $m) => $m->getChannel(), $messages));
        self::assertSame([$id, $id], array_map(static fn (Message $m) => $m->getId(), $messages));
    }

    public function testFakeWrapsAnotherPublisher(): void
    {
        $inner = new RealtimeFake();
        $publisher = new PublisherDouble($inner);
        $fake = Realtime::fake($publisher);
        broadcast('user.1', 'paid');
        $fake->assertBroadcast('user.1', 'paid');
        $inner->assertBroadcast('user.1', 'paid');
    }

    public function testFakeReturnsTheFakeItIsGiven(): void
    {
        $fake = new RealtimeFake();
        self::assertSame($fake, Realtime::fake($fake));
    }

    public function testSwapSendsThroughThePublisherUntilRestore(): void
    {
        $first = new RealtimeFake();
        Realtime::swap($first);
        self::assertTrue(Realtime::stats()['fake']);
        broadcast('user.1', 'paid');
        $second = Realtime::fake();
        broadcast('user.2', 'paid');
        $first->assertBroadcastTimes('*.*', 'paid', 1);
        $second->assertBroadcast('user.2');
        Realtime::restore();
        self::assertFalse(Realtime::stats()['fake']);
    }

    /** @dataProvider badChannels */
    #[DataProvider('badChannels')]
    public function testAnInvalidChannelIsRefusedWhileFakedToo(string|array $channel): void
    {
        $fake = Realtime::fake();
        try {
            broadcast($channel, 'paid');
            self::fail('Nothing was thrown.');
        } catch (InvalidChannelException) {
            $fake->assertNothingBroadcast();
        }
    }

    /** @return array<string, array{string|array<int, string>}> */
    public static function badChannels(): array
    {
        return [
            'empty' => [''],
            'a list of none' => [[]],
            'unprintable' => ["user\n1"],
            'too long' => [str_repeat('a', 300)],
            'a pattern' => ['user.*'],
            'one bad of two' => [['user.1', '']],
        ];
    }

    public function testUnencodableDataIsNotSent(): void
    {
        $fake = Realtime::fake();
        try {
            broadcast(['user.1', 'user.2'], 'paid', NAN);
            self::fail('Nothing was thrown.');
        } catch (EncodingException) {
            $fake->assertNothingBroadcast();
        }
    }
}
