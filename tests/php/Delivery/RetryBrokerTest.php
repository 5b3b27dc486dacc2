<?php

/**
 * A callback that throws: the record is retried after a delay, blocking only its own key, then dead-lettered.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Delivery;

use DomainException;
use PHPUnit\Framework\Attributes\DataProvider;
use Throwable;
use Toporia\Realtime\Message;

final class RetryBrokerTest extends DeliveryTestCase
{
    public function testAFailedRecordIsRetriedWhileOthersContinue(): void
    {
        $this->produce(['A1', 'B1', 'C1', 'D1', 'E1']);
        $broker = $this->consumer(['B1' => 2]);
        self::assertSame(5, $this->drain($broker));
        self::assertSame(['B1#1', 'B1#2', 'B1#3'], $this->triesOf('B'));
        self::assertSame(['A1#1', 'B1#1', 'C1#1', 'D1#1', 'E1#1'], array_slice($this->tries, 0, 5));
        self::assertSame(['A1', 'C1', 'D1', 'E1', 'B1'], $this->done, 'no other record waited for it, none is handled twice');
        $stats = $broker->stats();
        self::assertSame([5, 2, 2, 0, 0, 0], [
            $stats['handled'], $stats['failures'], $stats['retries'], $stats['dead_lettered'], $stats['parked'],
            $stats['held_back'],
        ]);
        self::assertSame('empty', $stats['stop_reason']);
        self::assertSame('at-least-once', $stats['delivery']);
        $broker->close();
        self::assertSame([0 => 5], $this->committed($this->topic()));
        self::assertSame([], $this->letters());
    }

    public function testAfterTheLastAttemptItIsADeadLetterAndCountsAsHandled(): void
    {
        $this->produce(['A1', 'B1', 'C1']);
        $broker = $this->consumer(['B1' => self::ALWAYS]);
        self::assertSame(3, $this->drain($broker), 'handled and dead-lettered');
        self::assertSame(['B1#1', 'B1#2', 'B1#3', 'B1#4'], $this->triesOf('B'));
        self::assertSame(['A1', 'C1'], $this->done);
        $stats = $broker->stats();
        self::assertSame([4, 3, 1, 0], [
            $stats['failures'], $stats['retries'], $stats['dead_lettered'], $stats['parked'],
        ]);
        $broker->close();
        self::assertSame(['B1'], $this->letterValues(1));
        self::assertSame([], $this->left(), 'its offset moved on');
        self::assertStringContainsString("dlq.{$this->topic()}", $this->logged());
    }

    /**
     * @dataProvider retries
     *
     * @param list<string> $tries
     */
    #[DataProvider('retries')]
    public function testTheNumberOfRetriesIsASetting(int $retries, array $tries): void
    {
        $this->produce(['A1']);
        self::assertSame(1, $this->drain($this->consumer(['A1' => self::ALWAYS], ['max_retries' => $retries])));
        self::assertSame($tries, $this->tries);
        self::assertSame((string) count($tries), $this->letters(1)[0]->getHeaders()['x-attempts']);
    }

    /** @return array<string, array{int, list<string>}> */
    public static function retries(): array
    {
        return ['none' => [0, ['A1#1']], 'five' => [5, ['A1#1', 'A1#2', 'A1#3', 'A1#4', 'A1#5', 'A1#6']]];
    }

    public function testTheDelayDoublesWithATenthOfJitter(): void
    {
        $this->produce(['A1']);
        [$waits, $times] = [[], []];
        $broker = $this->consumer(static function () use (&$times): Throwable {
            $times[] = microtime(true);

            return new DomainException('no');
        }, ['retry_backoff_ms' => 100, 'retry_backoff_max_ms' => 10_000]);
        $broker->onFailed(static function (Message $message, Throwable $why, ?int $wait) use (&$waits): void {
            $waits[] = $wait;
        });
        self::assertSame(1, $this->drain($broker));
        self::assertCount(4, $waits);
        self::assertNull($waits[3]);
        foreach ([100, 200, 400] as $i => $ms) {
            self::assertEqualsWithDelta($ms, $waits[$i], $ms * 0.1, "before try $i + 2");
            $waited = ($times[$i + 1] - $times[$i]) * 1000;
            self::assertGreaterThanOrEqual($waits[$i] - 1, $waited, 'never too early');
            self::assertLessThan($waits[$i] + 150, $waited, 'and soon');
        }
    }

    public function testTheDelayHasAMaximum(): void
    {
        $this->produce(['A1']);
        $waits = [];
        $broker = $this->consumer(['A1' => 5], [
            'max_retries' => 5, 'retry_backoff_ms' => 50, 'retry_backoff_max_ms' => 120,
        ]);
        $broker->onFailed(static function (Message $message, Throwable $why, ?int $wait) use (&$waits): void {
            $waits[] = $wait;
        });
        self::assertSame(1, $this->drain($broker));
        foreach ([50, 100, 120, 120, 120] as $i => $ms) {
            self::assertEqualsWithDelta($ms, $waits[$i], $ms * 0.1);
        }
    }

    public function testAPendingRetryBlocksOnlyItsOwnKey(): void
    {
        $this->produce(['A1', 'B1', 'A2', 'B2', 'A3', 'B3']);
        self::assertSame(6, $this->drain($this->consumer(['A1' => 2], ['retry_backoff_ms' => 100])));
        self::assertSame(['A1#1', 'B1#1', 'B2#1', 'B3#1', 'A1#2', 'A1#3', 'A2#1', 'A3#1'], $this->tries);
    }

    public function testOnceDeadLetteredTheNextRecordOfItsKeyIsHandled(): void
    {
        $this->produce(['A1', 'A2', 'B1', 'A3']);
        self::assertSame(4, $this->drain($this->consumer(['A1' => self::ALWAYS, 'A2' => 1], ['max_retries' => 1])));
        self::assertSame(['A1#1', 'A1#2', 'A2#1', 'A2#2', 'A3#1'], $this->triesOf('A'));
        self::assertSame('B1', $this->done[0], 'which waited for none of them');
        self::assertSame(['A1'], $this->letterValues(1));
    }

    public function testEveryRecordOfAKeyFails(): void
    {
        $this->produce(['A1', 'A2', 'A3', 'B1', 'B2']);
        $failing = ['A1' => self::ALWAYS, 'A2' => self::ALWAYS, 'A3' => 1, 'B1' => 1, 'B2' => 1];
        self::assertSame(5, $this->drain($this->consumer($failing, ['max_retries' => 1])));
        self::assertSame(['A1#1', 'A1#2', 'A2#1', 'A2#2', 'A3#1', 'A3#2'], $this->triesOf('A'));
        self::assertSame(['B1#1', 'B1#2', 'B2#1', 'B2#2'], $this->triesOf('B'));
        self::assertSame(['A1', 'A2'], $this->letterValues(2));
    }

    public function testRecordsWithoutAKeyDoNotBlockEachOther(): void
    {
        $this->produce(['-1', '-2', '-3', '-4']);
        $broker = $this->consumer(['-1' => 1, '-2' => 1], ['retry_backoff_ms' => 400, 'retry_backoff_max_ms' => 400]);
        $start = microtime(true);
        self::assertSame(4, $this->drain($broker));
        self::assertSame(['-1#1', '-2#1', '-3#1', '-4#1'], array_slice($this->tries, 0, 4));
        self::assertSame(['-3', '-4'], array_slice($this->done, 0, 2));
        self::assertLessThan(0.8 + 0.5, microtime(true) - $start, 'and they wait side by side');
    }

    public function testAnEmptyKeyIsAKey(): void
    {
        $broker = $this->broker();
        foreach ([['1', ''], ['2', null], ['3', '']] as [$value, $key]) {
            $broker->send($this->topic(), $value, $key, [], 0);
        }
        $broker->close();
        self::assertSame(3, $this->drain($this->consumer(['1' => 1])));
        self::assertSame(['2', '1', '3'], $this->done);
    }

    public function testTheSameKeyInAnotherTopicDoesNotWait(): void
    {
        $this->produce(['A1']);
        $this->produce(['A2'], 0, $this->topic('other'));
        $broker = $this->consumer(['A1' => 1], ['retry_backoff_ms' => 400, 'retry_backoff_max_ms' => 400]);
        $broker->subscribeTopic($this->topic('other'), $this->handler([]));
        self::assertSame(2, $this->drain($broker));
        self::assertSame(['A2', 'A1'], $this->done);
    }

    public function testChannelsAndPatternsAreRetriedAlike(): void
    {
        $this->publish('user.1', ['a']);
        $this->publish('user.2', ['b']);
        $attempts = [];
        $broker = $this->broker(['max_retries' => 1]);
        $broker->subscribe('user.*', static function (Message $message) use (&$attempts): void {
            $attempts[$message->getChannel()][] = $message->getAttempt();
            if ($message->getChannel() === 'user.1' || $message->getAttempt() === 1) {
                throw new DomainException('no');
            }
        });
        self::assertSame(2, $this->drain($broker));
        self::assertEquals(['user.1' => [1, 2], 'user.2' => [1, 2]], $attempts);
        $broker->close();
        [$letter] = $this->letters(1, $this->channelTopic('user.1'));
        self::assertSame('user.1', $letter->getKey());
        self::assertSame([], $this->letters(0, $this->channelTopic('user.2')));
    }

    public function testMaxMessagesCountsDeadLettersAndIsExact(): void
    {
        $this->produce(['A1', 'B1', 'C1', 'D1', 'E1']);
        $broker = $this->consumer(['B1' => self::ALWAYS], ['max_retries' => 0]);
        self::assertSame(3, $broker->consume(maxMessages: 3));
        self::assertSame('max_messages', $broker->stats()['stop_reason']);
        self::assertSame(['A1', 'C1'], $this->done);
        $broker->close();
        self::assertSame(['D1', 'E1'], $this->left());
    }

    public function testAMessageKeepsItsAttempt(): void
    {
        $this->produce(['A1']);
        $messages = [];
        $this->drain($this->consumer(static function (Message $message) use (&$messages): ?Throwable {
            $messages[] = $message;

            return count($messages) < 3 ? new DomainException('no') : null;
        }));
        self::assertSame([1, 2, 3], array_map(static fn (Message $m) => $m->getAttempt(), $messages));
        self::assertSame(['A1', 'A1', 'A1'], array_map(static fn (Message $m) => $m->getPayload(), $messages));
        self::assertSame($messages[0]->getId(), $messages[2]->getId());
    }

    public function testErrorsAreRetriedLikeExceptions(): void
    {
        $this->produce(['A1', 'B1']);
        $broker = $this->consumer(static function (Message $message): ?Throwable {
            if ($message->getPayload() === 'A1') {
                /** @phpstan-ignore-next-line a mistake on purpose */
                strlen();
            }

            return null;
        }, ['max_retries' => 1]);
        self::assertSame(2, $this->drain($broker));
        self::assertSame(['A1#1', 'A1#2'], $this->triesOf('A'));
        self::assertSame('ArgumentCountError', $this->letters(1)[0]->getHeaders()['x-exception-class']);
    }
}
