<?php

/**
 * consume() in a Fiber that is dropped while a callback or hook has suspended it: the record was not handled, and the
 * attempt does not count.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Delivery;

use Closure;
use DomainException;
use Fiber;
use Generator;
use PHPUnit\Framework\Attributes\DataProvider;
use Throwable;
use Toporia\Realtime\Broker;
use Toporia\Realtime\Contract\RetryStrategy;
use Toporia\Realtime\Message;

final class DroppedFiberBrokerTest extends DeliveryTestCase
{
    private bool $suspends = true;

    /** @dataProvider cases */
    #[DataProvider('cases')]
    public function testTheRecordComesAgainAsTheSameAttempt(string $where, string $delivery): void
    {
        $this->publish('user.1', ['A1', 'B1']);
        $broker = $this->worker($where, $delivery);
        foreach (['first', 'second'] as $time) {
            $this->drop($broker);
            self::assertSame(['A1#1'], $this->tries, "$time: suspended in the first record");
            self::assertSame([], $this->done);
            $this->tries = [];
        }
        $stats = $broker->stats();
        self::assertSame([0, 0], [$stats['handled'], $stats['dead_lettered']]);
        $broker->close();
        self::assertSame([], $this->letters(0, $this->channelTopic('user.1')));
        self::assertSame(['A1', 'B1'], $this->rest('user.1'), 'the offset was not committed past it');
    }

    /** @dataProvider cases */
    #[DataProvider('cases')]
    public function testTheSameBrokerContinues(string $where, string $delivery): void
    {
        $this->publish('user.1', ['A1', 'B1']);
        $broker = $this->worker($where, $delivery);
        $this->drop($broker);
        $this->suspends = false;
        $this->drain($broker);
        self::assertSame(['A1#1', 'A1#1', 'B1#1'], $this->tries);
        self::assertSame(['A1', 'B1'], $this->done);
        $broker->close();
        if ($delivery !== 'exactly-once' || self::isReal()) {
            // The embedded broker keeps no offsets of transactions.
            self::assertSame([], $this->rest('user.1'));
        }
    }

    /** @return array<string, array{string, string}> */
    public static function cases(): array
    {
        $cases = [];
        foreach (['callback', 'generator', 'list', 'finally returns'] as $where) {
            foreach (['at-least-once', 'exactly-once'] as $delivery) {
                $cases["$where, $delivery"] = [$where, $delivery];
            }
        }

        return $cases + ['onFailed' => ['onFailed', 'at-least-once'], 'retryWith' => ['retryWith', 'at-least-once']];
    }

    public function testWithAtMostOnceTheRecordIsDropped(): void
    {
        $this->publish('user.1', ['A1', 'B1']);
        $broker = $this->worker('finally returns', 'at-most-once');
        $this->drop($broker);
        self::assertSame(1, $broker->stats()['dropped']);
        $this->suspends = false;
        $this->drain($broker);
        self::assertSame(['A1#1', 'B1#1'], $this->tries);
        self::assertSame(['B1'], $this->done);
        $broker->close();
        self::assertSame([], $this->rest('user.1'));
    }

    public function testAnExceptionThrownWhileTheFiberIsDestroyedEndsConsume(): void
    {
        $this->publish('user.1', ['A1', 'B1']);
        $broker = $this->worker('finally throws', 'at-least-once');
        try {
            $this->drop($broker);
            self::fail('The exception is lost.');
        } catch (DomainException $e) {
            self::assertSame('from finally', $e->getMessage());
        }
        self::assertSame(['A1#1'], $this->tries);
        $broker->close();
        self::assertSame(['A1', 'B1'], $this->rest('user.1'));
        self::assertSame([], $this->letters(0, $this->channelTopic('user.1')));
    }

    public function testAMessageSentWhileTheCallbackIsSuspendedIsNotSentByIt(): void
    {
        $this->publish('user.1', ['A1']);
        $broker = $this->worker('callback', 'at-least-once');
        $fiber = new Fiber(static fn () => $broker->consume(200));
        $fiber->start();
        $this->publish('user.1', ['A1']);
        unset($fiber);
        $broker->close();
        self::assertSame(['A1', 'A1'], $this->rest('user.1'), 'the loop guard drops what a callback repeats');
    }

    public function testAHookThatSuspendsIsCutOffBetweenRecords(): void
    {
        $this->produce(['A1']);
        $broker = $this->consumer();
        $broker->onTick(static function (): void {
            try {
                Fiber::suspend();
            } finally {
                return;
            }
        }, 10);
        $fiber = new Fiber(static fn () => $broker->consume(100));
        $fiber->start();
        unset($fiber);
        self::within(15.0, $broker);
        $this->produce(['B1']);
        $this->drain($broker);
        self::assertSame(['A1', 'B1'], $this->done, 'the broker is not consuming any more and can be used again');
        $broker->close();
    }

    public function testAtTheEndOfTheScript(): void
    {
        $this->publish('user.1', ['A1', 'B1']);
        foreach ([1, 2, 3] as $run) {
            $result = $this->runPhp(<<<PHP
                \$broker = new Broker(['max_retries' => 0]);
                \$broker->subscribe('user.1', function (Message \$message) {
                    echo \$message->getData(), '#', \$message->getAttempt(), "\\n";
                    Fiber::suspend();
                });
                \$fiber = new Fiber(fn () => \$broker->consume());
                \$fiber->start();
                echo "end\\n";
                PHP)->assertExit();
            self::assertSame("A1#1\nend\n", $result->stdout, "run $run");
        }
        self::assertSame([], $this->letters(0, $this->channelTopic('user.1')));
        self::assertSame(['A1', 'B1'], $this->rest('user.1'));
    }

    /** A broker that suspends, and would dead-letter a record after its first failure. */
    private function worker(string $where, string $delivery): Broker
    {
        $broker = $this->broker(['max_retries' => $where === 'retryWith' ? 1 : 0, 'delivery' => $delivery]);
        $begin = function (Message $message): void {
            $this->tries[] = "{$message->getData()}#{$message->getAttempt()}";
        };
        $end = function (Message $message): void {
            $this->done[] = $message->getData();
        };
        $suspend = function (): void {
            if ($this->suspends) {
                Fiber::suspend();
            }
        };
        $fails = fn () => $this->suspends ? throw new DomainException('no') : null;
        $callback = match ($where) {
            'generator' => static function (Message $message) use ($begin, $suspend, $end): Generator {
                $begin($message);
                yield;
                $suspend();
                yield;
                $end($message);
            },
            'finally returns' => function (Message $message) use ($begin, $suspend, $end): void {
                $begin($message);
                try {
                    $suspend();
                } finally {
                    if ($this->suspends) {
                        return;
                    }
                }
                $end($message);
            },
            'finally throws' => static function (Message $message) use ($begin, $suspend): void {
                $begin($message);
                try {
                    $suspend();
                } finally {
                    throw new DomainException('from finally');
                }
            },
            'onFailed', 'retryWith' => static function (Message $message) use ($begin, $fails, $end): void {
                $begin($message);
                $fails();
                $end($message);
            },
            default => static function (Message $message) use ($begin, $suspend, $end): void {
                $begin($message);
                $suspend();
                $end($message);
            },
        };
        if ($where === 'list') {
            return $broker->subscribeBatch('user.1', static function (array $list) use ($callback): void {
                array_map($callback, $list);
            });
        }
        match ($where) {
            'onFailed' => $broker->onFailed(static fn () => $suspend()),
            'retryWith' => $broker->retryWith(new class ($suspend) implements RetryStrategy {
                public function __construct(private Closure $suspend)
                {
                }

                public function delay(Message $message, Throwable $why, int $attempt): ?int
                {
                    ($this->suspend)();

                    return null;
                }
            }),
            default => null,
        };

        return $broker->subscribe('user.1', $callback);
    }

    private function drop(Broker $broker): void
    {
        $fiber = new Fiber(static fn () => $broker->consume(200));
        $fiber->start();
        self::assertTrue($fiber->isSuspended(), 'a callback has suspended it');
        unset($fiber);
    }
}
