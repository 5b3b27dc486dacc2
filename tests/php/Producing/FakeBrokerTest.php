<?php

/**
 * Realtime::fake(), swap() and restore() with the extension: nothing reaches Kafka, and the same checks apply.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Producing;

use RuntimeException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Tests\Support\PublisherDouble;
use TypeError;

final class FakeBrokerTest extends ProducingTestCase
{
    public function testNothingIsSentUntilTheFakeIsRemoved(): void
    {
        $before = Realtime::stats();
        $fake = Realtime::fake();
        self::assertTrue(Realtime::stats()['fake']);
        $id = Realtime::broadcast('user.1', 'faked', ['n' => 1.0, 'é' => '/'], 'k', ['h' => 'v'], '1.2');
        self::assertSame($before['messages_produced'], Realtime::stats()['messages_produced']);
        $fake->assertBroadcastTimes('user.1', 'faked', 1);
        $fake->assertBroadcast('user.*', 'faked', static fn (Message $m) => $m->getData() === ['n' => 1, 'é' => '/']);
        $sent = $fake->sent()[0];
        self::assertSame([$id, 'k'], [$fake->broadcasts()[0]->getId(), $sent->key]);
        self::assertSame(['h' => 'v', 'x-realtime-socket' => '1.2'], $sent->headers);

        Realtime::restore();
        Realtime::restore();
        self::assertFalse(Realtime::stats()['fake']);
        Realtime::broadcast('user.1', 'real');
        Realtime::flush();
        self::assertSame(['real'], array_column($this->envelopes('user.1'), 'event'));
        $fake->assertBroadcastTimes('user.1', 'real', 0);
    }

    public function testFlushHasNothingToWaitFor(): void
    {
        Realtime::fake();
        Realtime::broadcast('user.1', 'e');
        self::assertLessThan(50, self::time(static fn () => Realtime::flush()));
    }

    public function testSwapUsesAnotherPublisher(): void
    {
        $publisher = $this->recorder();
        Realtime::swap($publisher);
        $id = Realtime::broadcast('user.1', 'e', 5, null, ['h' => 'v']);
        self::assertSame([['user.1', $id, 5, null, ['h' => 'v']]], $publisher->calls);
        self::assertTrue(Realtime::stats()['fake']);
        $publisher->throws = new RuntimeException('refused');
        self::assertSame(
            'refused',
            self::thrown(RuntimeException::class, static fn () => Realtime::broadcast('user.1', 'e'))
        );
    }

    public function testSwapToACustomBroker(): void
    {
        Realtime::swap($this->broker(['topic_prefix' => "$this->prefix-swapped"]));
        Realtime::broadcast('user.1', 'swapped');
        Realtime::restore();
        Realtime::flush();
        self::assertStringContainsString('"swapped"', $this->payloads("$this->prefix-swapped_user_1")[0]);
    }

    public function testAnInvalidPublisherIsRefused(): void
    {
        self::thrown(TypeError::class, static fn () => Realtime::swap((object) []));
        self::thrown(TypeError::class, static fn () => Realtime::fake('x'));
        self::assertFalse(Realtime::stats()['fake']);
    }

    public function testAFakeEndsWithTheRequest(): void
    {
        $result = $this->runPhp('Realtime::fake(); Realtime::broadcast("user.1", "e"); echo "fine";');
        self::assertSame(['fine', ''], [$result->assertExit()->stdout, $result->stderr]);
    }

    private function recorder(): object
    {
        return new class () extends PublisherDouble {
            /** @var list<array<int, mixed>> */
            public array $calls = [];
            public ?RuntimeException $throws = null;

            public function publish(string $channel, Message $message, ?string $key = null, array $headers = []): string
            {
                if ($this->throws !== null) {
                    throw $this->throws;
                }
                $this->calls[] = [$channel, $message->getId(), $message->getData(), $key, $headers];

                return $message->getId();
            }
        };
    }
}
