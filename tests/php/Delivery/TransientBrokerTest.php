<?php

/**
 * An outage of a dependency: transient failures wait as long as it takes, and a callback that fails for every record is
 * paused instead of pushing the topic into the dead letters.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Delivery;

use DomainException;
use PDOException;
use PHPUnit\Framework\Attributes\DataProvider;
use RuntimeException;
use Throwable;
use Toporia\Realtime\Broker;
use Toporia\Realtime\Exception\PermanentException;
use Toporia\Realtime\Exception\TransientException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;
use UnexpectedValueException;

final class TransientBrokerTest extends DeliveryTestCase
{
    private const SECONDS = 2.0;
    /** @var list<mixed> the data of the messages of twenty() that were handled */
    private array $handled = [];

    private const LISTED = ['transient_exceptions' => [UnexpectedValueException::class]];

    /**
     * @param array<string, mixed> $config
     *
     * @dataProvider modes
     */
    #[DataProvider('modes')]
    public function testAnOutageOfADependencyMakesNoDeadLetters(bool $isKeyed, bool $isList, array $config): void
    {
        $broker = $this->twenty($isKeyed, $isList, $config + self::LISTED, new UnexpectedValueException('away'));
        self::assertSame(20, self::within(20.0, $broker)->consume(stopWhenEmpty: true));
        self::assertSame(0, $broker->stats()['dead_lettered']);
        self::assertEqualsCanonicalizing(range(1, 20), array_unique($this->handled));
        self::assertSame([0, 0, []], [
            $broker->stats()['transient_waiting'], $broker->stats()['transient_wait_ms'],
            $broker->stats()['open_circuits'],
        ]);
        $broker->close();
        $this->assertAllCommitted($config);
    }

    /** @return array<string, array{bool, bool, array<string, mixed>}> */
    public static function modes(): array
    {
        return [
            'one key' => [true, false, []],
            'different keys' => [false, false, []],
            'lists' => [true, true, []],
            'lists with different keys' => [false, true, []],
            'without a circuit' => [false, false, ['circuit_failures' => 0]],
            'without dead letters' => [true, false, ['dlq' => false]],
            'exactly once' => [true, false, ['delivery' => 'exactly-once']],
            'exactly once, lists' => [false, true, ['delivery' => 'exactly-once']],
        ];
    }

    /**
     * Of exceptions that are not listed, one record is given up before the circuit opens, and then one after
     * `max_retries` + 1 waits.
     *
     * @param array<string, mixed> $config
     *
     * @dataProvider plain
     */
    #[DataProvider('plain')]
    public function testACallbackThatFailsForEveryRecordIsPaused(
        bool $isKeyed,
        bool $isList,
        int $most,
        array $config
    ): void {
        $config += ['retry_backoff_ms' => 20, 'retry_backoff_max_ms' => 1000];
        $broker = $this->twenty($isKeyed, $isList, $config, new RuntimeException('a plain exception'));
        [$open, $deadline] = [[], microtime(true) + 20.0];
        $broker->onTick(static function (Broker $broker) use (&$open, $deadline): void {
            $open = [...$open, ...$broker->stats()['open_circuits']];
            microtime(true) < $deadline or $broker->stopConsuming();
        }, 20);
        self::assertSame(20, $broker->consume(stopWhenEmpty: true));
        self::assertLessThanOrEqual($most, $broker->stats()['dead_lettered']);
        self::assertSame(['user.1'], array_values(array_unique($open)));
        self::assertSame([], $broker->stats()['open_circuits'], 'closed by a success');
        self::assertStringContainsString('RuntimeException: a plain', (string) $broker->stats()['last_failure']);
        self::assertLessThan(20, $broker->stats()['failures'], 'single records were tried');
        $broker->close();
        $this->assertAllCommitted($config);
    }

    /** @return array<string, array{bool, bool, int, array<string, mixed>}> */
    public static function plain(): array
    {
        return [
            'one key' => [true, false, 2, []],
            'different keys' => [false, false, 0, []],
            'lists' => [false, true, 0, []],
            'exactly once' => [true, false, 2, ['delivery' => 'exactly-once']],
        ];
    }

    public function testAtMostOnceDropsFewRecords(): void
    {
        $config = ['delivery' => 'at-most-once', 'retry_backoff_ms' => 20, 'retry_backoff_max_ms' => 1000];
        $broker = $this->twenty(true, false, $config, new RuntimeException('away'));
        $handled = self::within(20.0, $broker)->consume(stopWhenEmpty: true);
        $stats = $broker->stats();
        self::assertSame(20, $handled + $stats['dropped']);
        self::assertLessThanOrEqual(9, $stats['dropped'], 'five, and single ones after pauses');
        self::assertGreaterThanOrEqual(5, $stats['dropped']);
        self::assertSame(range($stats['dropped'] + 1, 20), $this->handled);
        self::assertSame(0, $stats['dead_lettered']);
        $broker->close();
        self::assertSame([], $this->rest('user.1'));
    }

    public function testAStopWithAtMostOnceFinishesTheBatch(): void
    {
        $config = ['delivery' => 'at-most-once', 'retry_backoff_ms' => 60_000, 'retry_backoff_max_ms' => 60_000];
        $broker = $this->twenty(true, false, $config, new RuntimeException('away'));
        $start = microtime(true);
        self::stopWhen($broker, static fn (): bool => $broker->stats()['open_circuits'] !== [])->consume();
        self::assertLessThan(5.0, microtime(true) - $start);
        self::assertSame(20, $broker->stats()['dropped'] + count($this->handled) + count($this->rest('user.1')));
    }

    public function testOneBadRecordPausesNothing(): void
    {
        $this->produce(['A1', 'B1', 'A2', 'B2', 'C1', 'C2', 'B3', 'C3']);
        $broker = $this->consumer(['A1' => self::ALWAYS], ['retry_backoff_ms' => 100, 'retry_backoff_max_ms' => 5000]);
        $start = microtime(true);
        self::assertSame(8, $this->drain($broker));
        self::assertLessThan(4.0, microtime(true) - $start);
        self::assertSame(['A1'], $this->letterValues(1));
    }

    public function testABadRecordIsGivenUpWhileTheCircuitIsOpen(): void
    {
        $this->produce(['A1', 'A2', 'A3', 'A4']);
        $broker = $this->consumer(['A1' => self::ALWAYS, 'A2' => self::ALWAYS, 'A3' => self::ALWAYS]);
        self::assertSame(4, self::within(20.0, $broker)->consume(stopWhenEmpty: true));
        self::assertSame(['A1', 'A2', 'A3'], $this->letterValues(3));
        self::assertSame(['A4'], $this->done);
    }

    public function testOtherSubscriptionsContinue(): void
    {
        $this->publish('user.1', range(1, 20));
        $this->publish('user.2', range(1, 20));
        $done = 0;
        $broker = $this->broker(['retry_backoff_ms' => 1000, 'retry_backoff_max_ms' => 60_000, 'circuit_failures' => 2]);
        $broker->subscribe('user.1', static fn () => throw new RuntimeException('away'));
        $broker->subscribe('user.2', static function () use (&$done): void {
            $done++;
        });
        self::stopWhen($broker, static function () use (&$done): bool {
            return $done === 20;
        })->consume();
        self::assertSame(20, $done);
        self::assertSame(0, $broker->stats()['dead_lettered']);
    }

    public function testPermanentFailuresOpenNoCircuit(): void
    {
        $this->produce(array_map(static fn (int $i) => "-$i", range(1, 40)));
        $broker = $this->consumer(
            static fn (): Throwable => new PermanentException('never'),
            ['retry_backoff_ms' => 1000, 'retry_backoff_max_ms' => 60_000]
        );
        self::assertSame(40, $this->drain($broker));
        self::assertCount(40, $this->tries);
    }

    public function testTransientFailuresUseUpNoAttempts(): void
    {
        $this->produce(['A1']);
        $broker = $this->consumer(
            static fn (Message $message): Throwable => $message->getAttempt() <= 8
                ? new TransientException('away') : new DomainException('no'),
            ['max_retries' => 2, 'retry_backoff_ms' => 1]
        );
        self::assertSame(1, $this->drain($broker));
        self::assertSame('A1#11', $this->tries[10], 'eight and three');
        self::assertCount(11, $this->tries);
        self::assertSame('11', $this->letters(1)[0]->getHeaders()['x-attempts']);
    }

    public function testACrashAfterTransientFailuresIsTheFirstAttempt(): void
    {
        $this->produce(['A1', 'B1']);
        $code = <<<'PHP'
            if ($record === 'A1' && !is_file(getenv('TEST_NOTES') . '.crashed')) {
                if ($attempt <= 6) {
                    throw new Toporia\Realtime\Exception\TransientException('away');
                }
                touch(getenv('TEST_NOTES') . '.crashed');
                exit(3);
            }
            PHP;
        $script = $this->script($code, "['max_retries' => 1, 'retry_backoff_ms' => 1]", 'stopWhenEmpty: true');
        $this->runPhp($script)->assertExit(3);
        $this->runPhp($script)->assertExit();
        unlink($this->notes() . '.crashed');
        self::assertContains('A1#7', $this->noted());
        self::assertContains('A1#2', array_slice($this->noted(), -4), 'the crash was the first attempt that counts');
        self::assertSame([], $this->letters());
        self::assertSame([], $this->left());
    }

    public function testTheLimitInTime(): void
    {
        $this->produce(['A1']);
        $start = microtime(true);
        $broker = $this->consumer(
            static fn (): Throwable => new UnexpectedValueException('away'),
            self::LISTED + ['transient_max_seconds' => 1]
        );
        self::assertSame(1, $this->drain($broker));
        $seconds = microtime(true) - $start;
        self::assertGreaterThan(1.0, $seconds);
        self::assertLessThan(4.0, $seconds);
        $headers = $this->letters(1)[0]->getHeaders();
        self::assertSame(UnexpectedValueException::class, $headers['x-exception-class']);
        self::assertSame('away (transient for 1 s: transient_max_seconds)', $headers['x-exception-message']);
        self::assertGreaterThan(6, (int) $headers['x-attempts'], 'more than max_retries');
    }

    /**
     * @param array<string, mixed> $config
     *
     * @dataProvider stops
     */
    #[DataProvider('stops')]
    public function testAStopWhileWaitingIsQuickAndKeepsTheRecords(array $config): void
    {
        $this->produce(['A1', 'A2', 'B1', '-1', '-2', '-3']);
        $broker = $this->consumer(
            static fn (): Throwable => new TransientException('away'),
            $config + ['retry_backoff_ms' => 60_000, 'retry_backoff_max_ms' => 60_000]
        );
        $waiting = null;
        self::stopWhen($broker, static function () use ($broker, &$waiting): bool {
            $waiting = $broker->stats();

            return $waiting['transient_waiting'] > 0 && $waiting['transient_wait_ms'] > 300;
        })->consume();
        self::assertSame('stopped', $broker->stats()['stop_reason']);
        $start = microtime(true);
        $broker->close();
        self::assertLessThan(2.0, microtime(true) - $start);
        self::assertEqualsCanonicalizing(['A1', 'A2', 'B1', '-1', '-2', '-3'], $this->left());
    }

    /** @return array<string, array{array<string, mixed>}> */
    public static function stops(): array
    {
        return [
            'at least once' => [[]],
            'exactly once' => [['delivery' => 'exactly-once']],
        ];
    }

    public function testExceptionsOfADatabaseThatIsAwayAreTransient(): void
    {
        $errors = [
            'A' => ['08006', 7, 'could not connect'], 'B' => ['HY000', 2002, 'Connection refused'],
            'C' => ['HY000', 2006, 'gone away'], 'D' => ['57P01', 7, 'terminating connection'],
            'E' => ['HY000', 7, 'no connection to the server'],
        ];
        $others = ['X' => ['23505', 7, 'duplicate key'], 'Y' => ['HY000', 1, 'no such table'], 'Z' => null];
        $this->produce(['A1', 'B1', 'C1', 'D1', 'E1', 'F1', 'X1', 'Y1', 'Z1']);
        $of = static function (?array $info): PDOException {
            $why = new PDOException('of the database');
            $why->errorInfo = $info;

            return $why;
        };
        $broker = $this->consumer(static function (Message $message) use ($errors, $others, $of): ?Throwable {
            $key = (string) $message->getKey();

            return match (true) {
                $message->getAttempt() > 5 => null,
                $key === 'F' => new RuntimeException('wrapped', 0, $of($errors['A'])),
                default => $of($errors[$key] ?? $others[$key]),
            };
        }, ['max_retries' => 1, 'retry_backoff_ms' => 1, 'circuit_failures' => 0]);
        self::assertSame(9, $this->drain($broker));
        self::assertEqualsCanonicalizing(['X1', 'Y1', 'Z1'], $this->letterValues(3));
    }

    public function testOnFailedIsToldWhatIsTransient(): void
    {
        $this->produce(['A1']);
        $told = [];
        $broker = $this->consumer(static fn (Message $message): ?Throwable => match ($message->getAttempt()) {
            1 => new TransientException('away'), 2 => new DomainException('no'), default => null,
        })->onFailed(static function (Message $message, Throwable $why, ?int $wait, bool $isTransient) use (&$told): void {
            $told[] = $isTransient;
        });
        self::assertSame(1, $this->drain($broker));
        self::assertSame([true, false], $told);
    }

    public function testNackWaitsForWhatIsTransient(): void
    {
        $this->produce(['A1']);
        $broker = $this->broker(['max_retries' => 1, 'retry_backoff_ms' => 1])->subscribeTopic($this->topic());
        for ($attempt = 1; $attempt <= 6; $attempt++) {
            $message = $broker->poll(10_000);
            self::assertSame($attempt, $message?->getAttempt());
            $broker->nack($message, new TransientException('away'));
        }
        foreach ([7, 8] as $attempt) {
            $message = $broker->poll(10_000);
            self::assertSame($attempt, $message?->getAttempt(), 'the counted attempts begin here');
            $broker->nack($message, new DomainException('no'));
        }
        self::assertNull($broker->poll(200));
        self::assertSame('8', $this->letters(1)[0]->getHeaders()['x-attempts']);
    }

    /** @param array<string, mixed> $config */
    private function assertAllCommitted(array $config): void
    {
        // The embedded broker keeps no offsets of transactions.
        if (self::isReal() || ($config['delivery'] ?? '') !== 'exactly-once') {
            self::assertSame([], $this->rest('user.1'));
        }
    }

    /**
     * Sends twenty messages to user.1, and subscribes a callback that fails for SECONDS from the first message on.
     *
     * @param bool $isKeyed one key for all, else a key each
     * @param array<string, mixed> $config
     */
    private function twenty(bool $isKeyed, bool $isList, array $config, Throwable $why): Broker
    {
        foreach (range(1, 20) as $i) {
            $message = Message::event('user.1', 'e', $i);
            Realtime::broker()->publish('user.1', $message, $isKeyed ? null : "k$i");
        }
        Realtime::flush();
        $end = null;
        $fail = static function () use ($why, &$end): void {
            $end ??= microtime(true) + self::SECONDS;
            microtime(true) < $end and throw $why;
        };
        $one = function (Message $message) use ($fail): void {
            $fail();
            $this->handled[] = $message->getData();
        };
        $broker = $this->broker($config);

        return $isList
            ? $broker->subscribeBatch('user.1', static fn (array $messages) => array_map($one, $messages))
            : $broker->subscribe('user.1', $one);
    }
}
