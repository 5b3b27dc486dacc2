<?php

/**
 * retryWith(): the application decides the retry delay, and when a record is given up.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Delivery;

use Closure;
use DomainException;
use LogicException;
use Throwable;
use Toporia\Realtime\Broker;
use Toporia\Realtime\Contract\RetryStrategy;
use Toporia\Realtime\Exception\PermanentException;
use Toporia\Realtime\Message;
use WeakReference;

final class RetryStrategyBrokerTest extends DeliveryTestCase
{
    /** @var list<array{string|null, string, int}> what a strategy of strategy() was asked */
    private array $asked = [];

    public function testItIsCalledAfterEveryFailureAndNullGivesUp(): void
    {
        $this->produce(['A1', 'B1']);
        $broker = $this->consumer(['A1' => self::ALWAYS])->retryWith($this->strategy(
            static fn (int $attempt): ?int => $attempt < 6 ? 1 : null
        ));
        self::assertSame(2, $this->drain($broker));
        self::assertSame(array_map(static fn (int $n) => ['A1', 'no A1', $n], range(1, 6)), $this->asked);
        self::assertSame(['A1#1', 'A1#2', 'A1#3', 'A1#4', 'A1#5', 'A1#6'], $this->triesOf('A'), 'not max_retries');
        self::assertSame('6', $this->letters(1)[0]->getHeaders()['x-attempts']);
    }

    public function testNullAtTheFirstFailureDeadLettersImmediately(): void
    {
        $this->produce(['A1']);
        $broker = $this->consumer(['A1' => self::ALWAYS])->retryWith($this->strategy(static fn () => null));
        self::assertSame(1, $this->drain($broker));
        self::assertSame(['A1#1'], $this->tries);
        self::assertSame('1', $this->letters(1)[0]->getHeaders()['x-attempts']);
    }

    public function testItsDelayIsKept(): void
    {
        $this->produce(['A1', 'B1']);
        $times = [];
        $broker = $this->consumer(static function (Message $message) use (&$times): ?Throwable {
            $times[] = microtime(true);

            return count($times) < 4 ? new DomainException('no') : null;
        })->retryWith($this->strategy(static fn (): int => 300));
        $waits = [];
        $broker->onFailed(static function (Message $message, Throwable $why, ?int $wait) use (&$waits): void {
            $waits[] = $wait;
        });
        self::assertSame(2, $this->drain($broker));
        self::assertSame([300, 300, 300], $waits, 'with nothing added');
        self::assertGreaterThanOrEqual(0.299, $times[2] - $times[0]);
        self::assertLessThan(0.55, $times[2] - $times[0]);
    }

    public function testZeroMeansNoDelay(): void
    {
        $this->produce(['A1']);
        $broker = $this->consumer(['A1' => 50])->retryWith($this->strategy(static fn (): int => 0));
        $start = microtime(true);
        self::assertSame(1, $this->drain($broker));
        self::assertCount(51, $this->tries);
        self::assertLessThan(2.0, microtime(true) - $start);
    }

    public function testItIsNotCalledForPermanentFailures(): void
    {
        $this->produce(['A1']);
        $broker = $this->consumer(static fn () => new PermanentException('never'))
            ->retryWith($this->strategy(static fn (): int => 1));
        self::assertSame(1, $this->drain($broker));
        self::assertSame([[], ['A1#1']], [$this->asked, $this->tries]);
    }

    public function testWithoutDeadLettersNullIsThrown(): void
    {
        $this->produce(['A1']);
        $broker = $this->consumer(['A1' => self::ALWAYS], ['dlq' => false])
            ->retryWith($this->strategy(static fn (int $attempt): ?int => $attempt < 2 ? 1 : null));
        self::assertSame('no A1', $this->drainThrows($broker)->getMessage());
        self::assertSame(['A1#1', 'A1#2'], $this->tries);
        $broker->close();
        self::assertSame(['A1'], $this->left());
    }

    public function testAnotherReplacesItAndNullRestoresTheSettings(): void
    {
        $this->produce(['A1']);
        $broker = $this->consumer(['A1' => self::ALWAYS], ['max_retries' => 1]);
        $broker->retryWith($this->strategy(static fn (): int => 1));
        $broker->retryWith($this->strategy(static fn (int $attempt): ?int => $attempt < 5 ? 1 : null));
        self::assertSame(1, $this->drain($broker));
        self::assertCount(5, $this->tries);
        self::assertCount(5, $this->asked);
        $this->produce(['B1']);
        $this->tries = [];
        $broker->retryWith(null)->subscribeTopic($this->topic(), $this->handler(['B1' => self::ALWAYS]));
        self::assertSame(1, self::within(15.0, $broker)->consume(maxMessages: 1));
        self::assertSame(['B1#1', 'B1#2'], $this->tries);
    }

    public function testAStrategyThatThrowsEndsConsumeAndTheOffsetStays(): void
    {
        $this->produce(['A1', 'B1']);
        $mistake = new LogicException('a mistake in the strategy');
        $broker = $this->consumer(['A1' => self::ALWAYS])->retryWith($this->strategy(static fn () => throw $mistake));
        self::assertSame($mistake, $this->drainThrows($broker));
        $broker->close();
        self::assertSame(['A1', 'B1'], $this->left());
        self::assertSame([], $this->letters());
    }

    public function testAStrategyThatStopsTheConsumer(): void
    {
        $this->produce(['A1', 'B1']);
        $broker = $this->consumer(['A1' => self::ALWAYS]);
        $broker->retryWith($this->strategy(static function () use ($broker): int {
            $broker->stopConsuming();

            return 60_000;
        }));
        self::assertSame(0, self::within(10.0, $broker)->consume());
        self::assertSame(['A1#1'], $this->tries);
        $broker->close();
        self::assertSame(['A1', 'B1'], $this->left());
    }

    public function testNackUsesItToo(): void
    {
        $this->produce(['A1']);
        $broker = $this->broker()->subscribeTopic($this->topic())
            ->retryWith($this->strategy(static fn (int $attempt): ?int => $attempt < 2 ? 1 : null));
        for ($attempt = 1; $attempt <= 2; $attempt++) {
            $message = $broker->poll(10_000);
            self::assertSame($attempt, $message?->getAttempt());
            $broker->nack($message, new DomainException('no A1'));
        }
        self::assertNull($broker->poll(200));
        $broker->close();
        self::assertSame([['A1', 'no A1', 1], ['A1', 'no A1', 2]], $this->asked);
        self::assertSame('2', $this->letters(1)[0]->getHeaders()['x-attempts']);
    }

    public function testAStrategyThatHoldsItsBrokerIsCollected(): void
    {
        $make = function (): WeakReference {
            $broker = new Broker($this->config());
            $strategy = new class ($broker) implements RetryStrategy {
                public function __construct(public readonly object $broker)
                {
                }

                public function delay(Message $message, Throwable $why, int $attempt): ?int
                {
                    return null;
                }
            };
            $broker->retryWith($strategy)->onFailed(static fn () => $broker->stats());

            return WeakReference::create($strategy);
        };
        $reference = $make();
        gc_collect_cycles();
        self::assertNull($reference->get());
    }

    /** @param Closure(int): ?int $delay given the attempt */
    private function strategy(Closure $delay): RetryStrategy
    {
        $note = function (Message $message, Throwable $why, int $attempt): void {
            $this->asked[] = [$message->getPayload(), $why->getMessage(), $attempt];
        };

        return new class ($delay, $note) implements RetryStrategy {
            public function __construct(private readonly Closure $decide, private readonly Closure $note)
            {
            }

            public function delay(Message $message, Throwable $why, int $attempt): ?int
            {
                ($this->note)($message, $why, $attempt);

                return ($this->decide)($attempt);
            }
        };
    }
}
