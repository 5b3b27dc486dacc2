<?php

/**
 * onFailed(): called for every failed attempt, and what its callback may do.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Delivery;

use Closure;
use DomainException;
use LogicException;
use PHPUnit\Framework\Attributes\DataProvider;
use Throwable;
use Toporia\Realtime\Broker;
use Toporia\Realtime\Exception\BatchException;
use Toporia\Realtime\Exception\PermanentException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;

final class OnFailedBrokerTest extends DeliveryTestCase
{
    /** @var list<array{string|null, int, Throwable, bool}> record, attempt, why, and whether it comes again */
    private array $reported = [];

    public function testItIsCalledForEveryFailedAttempt(): void
    {
        $this->produce(['A1', 'B1']);
        $thrown = [];
        $broker = $this->consumer(static function (Message $message) use (&$thrown): ?Throwable {
            return $message->getPayload() === 'A1' ? $thrown[] = new DomainException('no') : null;
        }, ['max_retries' => 2]);
        self::assertSame(2, $this->drain($broker->onFailed($this->note())));
        self::assertSame([
            ['A1', 1, $thrown[0], true], ['A1', 2, $thrown[1], true], ['A1', 3, $thrown[2], false],
        ], $this->reported);
    }

    public function testTheStatsAreUpToDateInTheCallback(): void
    {
        $this->produce(['A1']);
        $broker = $this->consumer(['A1' => self::ALWAYS], ['max_retries' => 1]);
        $failures = [];
        $broker->onFailed(static function () use ($broker, &$failures): void {
            $failures[] = $broker->stats()['failures'];
        });
        $this->drain($broker);
        self::assertSame([1, 2], $failures);
        self::assertSame(2, $broker->stats()['failures']);
    }

    public function testItIsCalledOnceForAPermanentFailure(): void
    {
        $this->produce(['A1']);
        $why = new PermanentException('never');
        $this->drain($this->consumer(static fn () => $why)->onFailed($this->note()));
        self::assertSame([['A1', 1, $why, false]], $this->reported);
    }

    public function testWithoutDeadLettersItIsCalledBeforeConsumeThrows(): void
    {
        $this->produce(['A1']);
        $broker = $this->consumer(['A1' => self::ALWAYS], ['dlq' => false, 'max_retries' => 1]);
        $e = $this->drainThrows($broker->onFailed($this->note()));
        self::assertSame([true, false], array_column($this->reported, 3));
        self::assertSame($e, $this->reported[1][2]);
    }

    public function testInABatchItGetsTheFailedRecord(): void
    {
        $this->publish('user.1', [1, 2, 3]);
        $data = [];
        $broker = $this->broker(['max_retries' => 0])->subscribeBatch('user.1', static function (array $messages): void {
            foreach ($messages as $index => $message) {
                if ($message->getData() === 2) {
                    throw new BatchException($index, new DomainException('no'));
                }
            }
        });
        $broker->onFailed(static function (Message $message, Throwable $why, ?int $wait) use (&$data): void {
            $data[] = [$message->getData(), $wait];
        });
        self::assertSame(3, $this->drain($broker));
        self::assertSame([[2, null]], $data);
    }

    public function testAnotherReplacesIt(): void
    {
        $this->produce(['A1']);
        $broker = $this->consumer(['A1' => 1])->onFailed(static fn () => self::fail('It was replaced.'));
        $this->drain($broker->onFailed($this->note()));
        self::assertCount(1, $this->reported);
    }

    public function testMessagesSentInItAreSent(): void
    {
        $this->produce(['A1']);
        $broker = $this->consumer(['A1' => 1]);
        $broker->onFailed(static function (Message $message, Throwable $why): void {
            Realtime::broadcast('alerts', 'failed', $why->getMessage());
        });
        self::assertSame(1, $this->drain($broker));
        $broker->close();
        self::assertSame(['no A1'], $this->rest('alerts'));
    }

    /** @dataProvider ways */
    #[DataProvider('ways')]
    public function testItMayEndTheConsumer(string $way): void
    {
        $this->produce(['A1', 'B1']);
        $broker = $this->consumer(['A1' => self::ALWAYS]);
        $broker->onFailed(function (Message $message) use ($broker, $way): void {
            $way === 'unsubscribe' ? $broker->unsubscribe($this->topic()) : $broker->$way();
        });
        $start = microtime(true);
        self::assertSame(0, self::within(10.0, $broker)->consume());
        self::assertLessThan(5.0, microtime(true) - $start);
        self::assertSame(['A1#1'], $this->tries);
        $broker->close();
        self::assertSame(['A1', 'B1'], $this->left(), 'nothing is lost');
        self::assertSame([], $this->letters());
    }

    /** @return array<string, array{string}> */
    public static function ways(): array
    {
        return ['stopConsuming' => ['stopConsuming'], 'close' => ['close'], 'unsubscribe' => ['unsubscribe']];
    }

    public function testTheDeadLetterIsWrittenWhateverItDoes(): void
    {
        $this->produce(['A1', 'B1']);
        $broker = $this->consumer(['A1' => self::ALWAYS], ['max_retries' => 0]);
        $broker->onFailed(static fn () => $broker->stopConsuming());
        $handled = self::within(10.0, $broker)->consume();
        $broker->close();
        $left = $this->left();
        self::assertSame($handled === 1 ? ['B1'] : ['A1', 'B1'], $left, 'dead-lettered, or it comes again');
        self::assertSame($handled === 1 ? ['A1'] : [], $this->letterValues($handled));
    }

    public function testAnExceptionInItEndsConsumeAndTheOffsetStays(): void
    {
        $this->produce(['A1', 'B1']);
        $mistake = new LogicException('a mistake there');
        $broker = $this->consumer(['A1' => self::ALWAYS])->onFailed(static fn () => throw $mistake);
        self::assertSame($mistake, $this->drainThrows($broker));
        self::assertSame('error', $broker->stats()['stop_reason']);
        $broker->close();
        self::assertContains('A1', $this->left());
        self::assertSame([], $this->letters());
    }

    public function testExitInItEndsCleanly(): void
    {
        $this->produce(['A1', 'B1']);
        $result = $this->runPhp($this->script(
            <<<'PHP'
                $broker->onFailed(function () { exit(7); });
                if ($record === 'A1') {
                    throw new DomainException('no');
                }
                PHP
        ), ['timeout' => 10.0])->assertExit(7);
        self::assertLessThan(6.0, $result->seconds);
        self::assertContains('A1', $this->left());
    }

    public function testConsumingInsideItIsRefused(): void
    {
        $this->produce(['A1']);
        $errors = [];
        $broker = $this->consumer(['A1' => 1]);
        $broker->onFailed(static function () use ($broker, &$errors): void {
            try {
                $broker->consume();
            } catch (Throwable $e) {
                $errors[] = get_class($e);
            }
        });
        self::assertSame(1, $this->drain($broker));
        self::assertCount(1, $errors);
    }

    public function testItIsCalledForNackToo(): void
    {
        $this->produce(['A1']);
        $broker = $this->broker(['max_retries' => 0])->subscribeTopic($this->topic())->onFailed($this->note());
        $message = $broker->poll(10_000);
        self::assertNotNull($message);
        $why = new DomainException('no');
        $broker->nack($message, $why);
        self::assertNull($broker->poll(200));
        self::assertSame([['A1', 1, $why, false]], $this->reported);
    }

    /** @return Closure(Message, Throwable, ?int): void */
    private function note(): Closure
    {
        return function (Message $message, Throwable $why, ?int $retryInMs): void {
            $this->reported[] = [$message->getPayload(), $message->getAttempt(), $why, $retryInMs !== null];
        };
    }
}
