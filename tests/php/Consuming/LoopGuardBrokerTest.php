<?php

/**
 * Messages sent from inside a callback: an identical one is dropped, any other gets a hop more.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Consuming;

use PHPUnit\Framework\Attributes\DataProvider;
use Toporia\Realtime\Exception\HopLimitException;
use Toporia\Realtime\Exception\Permanent;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;

final class LoopGuardBrokerTest extends ConsumingTestCase
{
    private const DATA = ['b' => 1, 'a' => ['x' => 'é/', 'n' => null], 'list' => [1, 2]];

    public function testAnIdenticalMessageIsDropped(): void
    {
        $dropped = Realtime::stats()['loop_dropped'];
        $ids = [];
        $handled = $this->inCallback(static function (Message $message) use (&$ids): void {
            $ids[] = $message->getId();
            $ids[] = Realtime::broadcast('user.1', (string) $message->getEvent(), $message->getData());
        });
        self::assertSame(1, $handled, 'it did not feed itself');
        self::assertSame($ids[0], $ids[1], 'the id of the message that is being handled');
        self::assertSame($dropped + 1, Realtime::stats()['loop_dropped']);
        self::assertSame([], $this->rest('user.1'));
    }

    public function testEqualJsonCountsAsIdentical(): void
    {
        $dropped = Realtime::stats()['loop_dropped'];
        $this->inCallback(static function (): void {
            $reordered = ['list' => [1, 2], 'a' => ['n' => null, 'x' => 'é/'], 'b' => 1];
            Realtime::broadcast('user.1', 'happened', $reordered);
            Realtime::broadcast('user.1', 'happened', (object) $reordered);
        });
        self::assertSame($dropped + 2, Realtime::stats()['loop_dropped']);
    }

    /** @dataProvider others */
    #[DataProvider('others')]
    public function testAnyOtherMessageIsPublishedWithAHopMore(string $channel, string $event, mixed $data): void
    {
        $dropped = Realtime::stats()['loop_dropped'];
        $id = null;
        $this->inCallback(static function () use (&$id, $channel, $event, $data): void {
            $id ??= Realtime::broadcast($channel, $event, $data);
        }, 1);
        self::assertSame($dropped, Realtime::stats()['loop_dropped']);
        $published = array_values(array_filter(
            $this->consumeAll($this->channelTopic($channel), $channel === 'user.1' ? 2 : 1),
            static fn (Message $message): bool => str_contains((string) $message->getPayload(), (string) $id)
        ));
        self::assertCount(1, $published);
        self::assertSame('1', $published[0]->getHeaders()['x-realtime-hops']);
    }

    /** @return array<string, array{string, string, mixed}> */
    public static function others(): array
    {
        return [
            'another channel' => ['user.2', 'happened', self::DATA],
            'another event' => ['user.1', 'happened.again', self::DATA],
            'other data' => ['user.1', 'happened', ['list' => [2, 1]] + self::DATA],
            'no data' => ['user.1', 'happened', null],
        ];
    }

    public function testHopsAddUpToTheLimit(): void
    {
        $hops = [];
        $chain = static function (int $next, Message $message) use (&$hops): void {
            $hops[] = $message->getHeaders()['x-realtime-hops'] ?? null;
            Realtime::broadcast('chain', 'next', $next);
        };
        try {
            $this->chain($chain, ['dlq' => false]);
            self::fail('It never ended.');
        } catch (HopLimitException $e) {
            self::assertInstanceOf(Permanent::class, $e, 'trying again cannot help');
            self::assertStringContainsString('max_hops', $e->getMessage());
        }
        self::assertSame([null, '1', '2', '3', '4', '5', '6', '7', '8'], $hops, 'and it was tried once');
    }

    public function testAMessageOverTheHopLimitIsDeadLetteredWithItsHops(): void
    {
        Realtime::configure(['brokers' => ['kafka' => $this->config(['max_hops' => 2])]]);
        $hops = 0;
        $this->chain(static function (int $next) use (&$hops): void {
            $hops++;
            Realtime::broadcast('chain', 'next', $next);
        }, ['max_hops' => 2], 3);
        self::assertSame(3, $hops);
        [$letter] = $this->consumeAll('dlq.' . $this->channelTopic('chain'), 1);
        self::assertSame(HopLimitException::class, $letter->getHeaders()['x-exception-class']);
        self::assertSame(['2', '1'], [
            $letter->getHeaders()['x-realtime-hops'], $letter->getHeaders()['x-attempts'],
        ], 'the letter itself makes no hop');
    }

    public function testTheLimitIsConfigurableAndAppliesToEverySendMethod(): void
    {
        $config = ['max_hops' => 2];
        Realtime::configure(['brokers' => ['kafka' => $this->config($config)]]);
        $refused = [];
        $this->chain(function (int $next, Message $message) use (&$refused): void {
            $broker = Realtime::broker();
            $ways = [
                static fn () => Realtime::broadcast('chain', 'next', $next),
                static fn () => $broker->publish('elsewhere', Message::event(null, 'next', $next)),
                fn () => $broker->send($this->topic(), 'next'),
            ];
            foreach ($ways as $way => $send) {
                try {
                    $send();
                } catch (HopLimitException) {
                    $refused[] = [$message->getData(), $way];
                }
            }
        }, $config, 3);
        self::assertSame([[2, 0], [2, 1], [2, 2]], $refused);
    }

    public function testAnApplicationCannotSetTheHops(): void
    {
        Realtime::broadcast('user.1', 'e', 1, null, ['x-realtime-hops' => '7', 'x-own' => 'kept']);
        Realtime::flush();
        [$message] = $this->consumeAll($this->channelTopic('user.1'), 1);
        self::assertSame(['x-own' => 'kept'], $message->getHeaders());
    }

    public function testNativePublishAndSendAreNeverDropped(): void
    {
        $dropped = Realtime::stats()['loop_dropped'];
        $count = 0;
        $handled = $this->inCallback(function (Message $message) use (&$count): void {
            if (++$count === 1) {
                $broker = Realtime::broker();
                $broker->publish('user.1', $message);
                $broker->publish('user.1', Message::event('user.1', 'happened', self::DATA));
                $broker->send($this->channelTopic('user.1'), $message->toJson());
            }
        }, 4);
        self::assertSame(4, $handled);
        self::assertSame($dropped, Realtime::stats()['loop_dropped']);
        $hops = array_map(
            static fn (Message $message): ?string => $message->getHeaders()['x-realtime-hops'] ?? null,
            $this->consumeAll($this->channelTopic('user.1'), 4)
        );
        sort($hops);
        self::assertSame([null, '1', '1', '1'], $hops);
    }

    public function testOutsideCallbacksNoMessageIsDroppedOrCounted(): void
    {
        $this->inCallback(static fn () => null);
        Realtime::broadcast('user.1', 'happened', self::DATA);
        Realtime::flush();
        $again = $this->consumeAll($this->channelTopic('user.1'), 2);
        self::assertCount(2, $again);
        self::assertArrayNotHasKey('x-realtime-hops', end($again)->getHeaders());
    }

    public function testAfterAnExceptionTheGuardIsReset(): void
    {
        try {
            $this->inCallback(static function (): void {
                throw new \DomainException('no');
            }, 0, self::AT_ONCE);
            self::fail('It went on.');
        } catch (\DomainException) {
            $dropped = Realtime::stats()['loop_dropped'];
        }
        Realtime::broadcast('user.1', 'happened', self::DATA);
        self::assertSame($dropped, Realtime::stats()['loop_dropped']);
    }

    public function testItCanBeDisabled(): void
    {
        $off = ['loop_guard' => false];
        Realtime::configure(['brokers' => ['kafka' => $this->config($off)]]);
        $dropped = Realtime::stats()['loop_dropped'];
        $count = 0;
        $handled = $this->inCallback(static function (Message $message) use (&$count): void {
            if (++$count <= 3) {
                Realtime::broadcast('user.1', 'happened', $message->getData());
            }
        }, 4, $off);
        self::assertSame(4, $handled);
        self::assertSame($dropped, Realtime::stats()['loop_dropped']);
        $last = $this->consumeAll($this->channelTopic('user.1'), 4)[3];
        self::assertArrayNotHasKey('x-realtime-hops', $last->getHeaders());
    }

    public function testInABatchEachMessageCountsAsIdentical(): void
    {
        $dropped = Realtime::stats()['loop_dropped'];
        $this->publish('user.1', [1, 2, 3]);
        $ids = [];
        $given = [];
        $broker = $this->broker();
        $broker->subscribeBatch('user.1', static function (array $messages) use (&$ids, &$given): void {
            foreach ($messages as $message) {
                $given[] = $message->getId();
            }
            foreach (array_reverse($messages) as $message) {
                $ids[] = Realtime::broadcast('user.1', 'happened', $message->getData());
            }
        });
        self::assertSame(3, $this->drain($broker));
        // The first one may come in a list of its own.
        self::assertEqualsCanonicalizing($given, $ids);
        self::assertSame($dropped + 3, Realtime::stats()['loop_dropped']);
    }

    public function testAListOfChannelsReachesTheOtherChannels(): void
    {
        $this->inCallback(static function (): void {
            Realtime::broadcast(['user.1', 'user.2'], 'happened', self::DATA);
        });
        self::assertSame([], $this->rest('user.1'));
        self::assertSame([self::DATA], $this->rest('user.2'));
    }

    /**
     * Publishes 0 on the channel "chain" and runs the callback with the next number for each message.
     *
     * @param callable(int, Message): void $callback
     * @param array<string, mixed> $config
     */
    private function chain(callable $callback, array $config = [], int $atMost = 20): void
    {
        $this->publish('chain', [0], 'next');
        $broker = $this->broker($config)->subscribe('chain', static function (Message $message) use ($callback): void {
            $callback($message->getData() + 1, $message);
        });
        self::within(15.0, $broker)->consume(maxMessages: $atMost);
    }

    /**
     * Handles everything on user.1, starting with one event of DATA; returns the number of events.
     *
     * @param array<string, mixed> $config
     */
    private function inCallback(callable $callback, int $atMost = 0, array $config = []): int
    {
        $this->publish('user.1', [self::DATA]);
        $broker = self::within(15.0, $this->broker($config)->subscribe('user.1', $callback));
        $handled = $broker->consume(maxMessages: $atMost, stopWhenEmpty: $atMost === 0);
        $broker->close();

        return $handled;
    }
}
