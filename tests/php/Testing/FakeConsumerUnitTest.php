<?php

/**
 * RealtimeFake as a consumer: messages given to receive() reach the callbacks by the rules of a real broker.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Testing;

use PHPUnit\Framework\AssertionFailedError;
use PHPUnit\Framework\TestCase;
use RuntimeException;
use Toporia\Realtime\Exception\BatchException;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\InvalidChannelException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Testing\RealtimeFake;

final class FakeConsumerUnitTest extends TestCase
{
    private RealtimeFake $fake;
    /** @var list<string> */
    private array $seen = [];

    protected function setUp(): void
    {
        $this->fake = new RealtimeFake();
    }

    public function testConsumeRunsTheCallbacksAndReturns(): void
    {
        $this->fake->receive('user.1', 'paid', ['id' => 7], 'k', ['h' => 'v'])->receive('user.2', 'paid');
        $this->fake->subscribe('user.1', function (Message $message): void {
            self::assertSame(['id' => 7], $message->getData());
            self::assertSame('k', $message->getKey());
            self::assertSame(['h' => 'v'], $message->getHeaders());
            $this->seen[] = (string) $message->getChannel();
        });
        self::assertSame(1, $this->fake->consume());
        self::assertSame(['user.1'], $this->seen);
        self::assertSame(0, $this->fake->consume(), 'nothing is handed out twice');
    }

    public function testTheExactSubscriptionComesBeforePatternsAndTheFirstPatternBeforeOthers(): void
    {
        foreach (['user.**', 'user.*', 'user.1'] as $name) {
            $this->fake->subscribe($name, function () use ($name): void {
                $this->seen[] = $name;
            });
        }
        $this->fake->receive('user.1', 'a')->receive('user.2', 'a')->receive('order.1', 'a')->consume();
        self::assertSame(['user.1', 'user.**'], $this->seen);
        $this->fake->unsubscribe('user.1')->unsubscribe('user.**');
        $this->fake->receive('user.1', 'a')->consume();
        self::assertSame('user.*', $this->seen[2]);
    }

    public function testSubscriptionsWithAndWithoutACallbackCannotBeMixed(): void
    {
        $this->fake->subscribe('user.1', static fn () => null)->subscribe('user.1')->subscribe('user.2');
        $this->expectException(ConfigurationException::class);
        $this->fake->subscribe('user.3', static fn () => null);
    }

    public function testConsumeInsideACallbackIsRefused(): void
    {
        $this->fake->receive('user.1', 'paid')->subscribe('user.1', function (): void {
            try {
                $this->fake->consume();
            } catch (ConfigurationException $e) {
                $this->seen[] = substr($e->getMessage(), 0, 17);
            }
        });
        self::assertSame(1, $this->fake->consume());
        self::assertSame(['Broker::consume()'], $this->seen);
        self::assertSame(0, $this->fake->consume(), 'afterwards it works again');
    }

    public function testMaxMessagesAndStopConsumingLeaveTheRest(): void
    {
        $this->fake->receive('a', '1')->receive('a', '2')->receive('a', '3');
        $this->fake->subscribe('a', function (Message $message): void {
            $this->seen[] = (string) $message->getEvent();
            if ($message->getEvent() === '2') {
                $this->fake->stopConsuming();
            }
        });
        self::assertSame(1, $this->fake->consume(maxMessages: 1));
        self::assertSame(1, $this->fake->consume());
        self::assertSame(1, $this->fake->consume());
        self::assertSame(['1', '2', '3'], $this->seen);
    }

    public function testACallbackThatThrowsKeepsItsMessage(): void
    {
        $this->fake->receive('a', '1');
        $this->fake->subscribe('a', function (Message $message): void {
            $this->seen[] = (string) $message->getEvent();
            if (count($this->seen) === 1) {
                throw new RuntimeException('no');
            }
        });
        try {
            $this->fake->consume();
            self::fail('Nothing was thrown.');
        } catch (RuntimeException) {
            self::assertSame(1, $this->fake->consume());
        }
        self::assertSame(['1', '1'], $this->seen);
    }

    public function testABatchIsHandledUpToItsFailure(): void
    {
        $this->fake->receive('a', '1')->receive('a', '2')->receive('a', '3');
        $this->fake->subscribeBatch('a', function (array $messages): void {
            $this->seen[] = implode(',', array_map(static fn (Message $m) => $m->getEvent(), $messages));
            if (count($this->seen) === 1) {
                throw new BatchException(1, new RuntimeException('the second'));
            }
        });
        try {
            $this->fake->consume(batchSize: 2);
            self::fail('Nothing was thrown.');
        } catch (BatchException) {
            self::assertSame(2, $this->fake->consume(batchSize: 2));
        }
        self::assertSame(['1,2', '2,3'], $this->seen);
    }

    public function testPullStyle(): void
    {
        $this->fake->receive('b', '0')->receive('a', '1')->receive('a', '2')->subscribe('a');
        $first = $this->fake->poll();
        $second = $this->fake->poll();
        self::assertSame(['1', '2'], [$first?->getEvent(), $second?->getEvent()]);
        self::assertNull($this->fake->poll());
        assert($first !== null && $second !== null);
        $this->fake->ack($first);
        $this->fake->nack($second, new RuntimeException('no'));
        $this->fake->assertAcked($first);
        $this->fake->assertNacked($second);
        $this->expectException(AssertionFailedError::class);
        $this->fake->assertAcked($second);
    }

    public function testAMessageIsAcknowledgedOnce(): void
    {
        $message = $this->fake->receive('a', '1')->subscribe('a')->poll();
        assert($message !== null);
        $this->fake->ack($message);
        $this->expectException(ConfigurationException::class);
        $this->fake->ack($message);
    }

    public function testConsumeWithoutSubscriptionIsRefused(): void
    {
        $this->expectException(ConfigurationException::class);
        $this->fake->consume();
    }

    public function testCallbacksAndPollDoNotMix(): void
    {
        $this->fake->subscribe('a', static fn () => null);
        $this->expectException(ConfigurationException::class);
        $this->fake->poll();
    }

    public function testAnInvalidChannelIsRefused(): void
    {
        $this->expectException(InvalidChannelException::class);
        $this->fake->subscribe('');
    }
    public function testAnUnchangedBroadcastFromACallbackIsNotSent(): void
    {
        $fake = Realtime::fake();
        try {
            $broker = Realtime::broker()->subscribe('user.1', static function (Message $message): void {
                broadcast('user.1', 'paid', ['b' => 2, 'id' => 7.0]);
                Realtime::broadcast(['user.1', 'user.2'], 'paid', ['id' => 7, 'b' => 2]);
                realtime()->broker()?->publish('user.1', $message);
                Realtime::broadcast('user.1', 'paid', ['id' => 8, 'b' => 2]);
            });
            $fake->receive('user.1', 'paid', ['id' => 7, 'b' => 2]);
            $broker->consume();
            Realtime::broadcast('user.1', 'paid', ['id' => 7, 'b' => 2]);
        } finally {
            Realtime::restore();
        }
        $reported = array_map(
            static fn (Message $message): array => [$message->getChannel(), $message->getData()['id']],
            $fake->broadcasts()
        );
        self::assertSame([['user.2', 7], ['user.1', 8], ['user.1', 7]], $reported);
    }
}
