<?php

/**
 * Batches in which one record fails: records before it are done, it is retried or dead-lettered, the rest is delivered
 * again.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Delivery;

use DomainException;
use PHPUnit\Framework\Attributes\DataProvider;
use Toporia\Realtime\Broker;
use Toporia\Realtime\Exception\BatchException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;

final class BatchRetryBrokerTest extends DeliveryTestCase
{
    /** @var list<list<string>> each list the callback was given, as "3#1": the data and its attempt */
    private array $lists = [];
    /** @var list<int> the data of what was handled */
    private array $handled = [];

    public function testTheRestIsDeliveredAgainImmediatelyAndTheFailedRecordAfterItsDelay(): void
    {
        $this->publishKeyed(['a' => 1, 'b' => 2, 'c' => 3, 'd' => 4, 'e' => 5]);
        $broker = $this->batch([3 => 1], ['retry_backoff_ms' => 300, 'retry_backoff_max_ms' => 300]);
        self::assertSame(5, $this->drain($broker));
        self::assertSame([1, 2, 4, 5, 3], $this->handled, 'nobody waited for it, nothing came twice');
        $tries = array_merge(...$this->lists);
        self::assertSame(['3#1', '3#2'], array_values(preg_grep('/^3#/', $tries) ?: []));
        self::assertSame([], preg_grep('/^[1245]#[^1]/', $tries), 'the others keep their first attempt');
        self::assertSame([5, 1, 1, 0], [
            $broker->stats()['handled'], $broker->stats()['failures'], $broker->stats()['retries'],
            $broker->stats()['dead_lettered'],
        ]);
        $broker->close();
        self::assertSame([], $this->rest('user.1'));
    }

    public function testRedeliveredRecordsPrecedeThoseHeldBackInBetween(): void
    {
        // 1 fails, so 13 to 15 wait behind it; then the partition exceeds the limit, and 16 is set aside while the
        // batch of 11 and 12 is collected, which fails too.
        $keyed = static fn (int $n): array => [in_array($n, [1, 13, 14, 15], true) ? 'a' : "k$n", $n];
        $this->publishKeyed(array_map($keyed, range(1, 40)));
        $broker = $this->batch([1 => 2, 11 => 1], [
            'retry_max_ahead' => 12, 'retry_backoff_ms' => 300, 'retry_backoff_max_ms' => 300,
        ]);
        self::stopWhen($broker, fn (): bool => count($this->handled) === 40)->consume(200, 10);
        $others = array_values(array_diff($this->handled, [1, 11, 13, 14, 15]));
        self::assertSame([...range(2, 10), 12, ...range(16, 40)], $others);
        self::assertCount(40, $this->handled, 'each once');
    }

    public function testAfterTheLastAttemptItIsADeadLetter(): void
    {
        $this->publishKeyed(['a' => 1, 'b' => 2, 'c' => 3, 'd' => 4]);
        $broker = $this->batch([2 => self::ALWAYS]);
        self::assertSame(4, $this->drain($broker));
        self::assertSame([1, 3, 4], $this->handled);
        self::assertSame(['2#1', '2#2', '2#3', '2#4'], array_values(preg_grep('/^2#/', array_merge(...$this->lists))));
        self::assertSame(1, $broker->stats()['dead_lettered']);
        $broker->close();
        $letters = $this->letters(1, $this->channelTopic('user.1'));
        self::assertCount(1, $letters);
        $headers = $letters[0]->getHeaders();
        self::assertSame(['4', DomainException::class, 'no 2'], [
            $headers['x-attempts'], $headers['x-exception-class'], $headers['x-exception-message'],
        ], 'of the cause, where BatchException has one');
        self::assertSame([], $this->rest('user.1'));
    }

    public function testWithoutACauseTheExceptionItselfIsReported(): void
    {
        $this->publishKeyed(['a' => 1]);
        $broker = $this->broker(['max_retries' => 0]);
        $broker->subscribeBatch('user.1', static fn () => throw new BatchException(0));
        self::assertSame(1, $this->drain($broker));
        [$letter] = $this->letters(1, $this->channelTopic('user.1'));
        self::assertSame(BatchException::class, $letter->getHeaders()['x-exception-class']);
    }

    public function testItsKeyWaitsAndOtherKeysDoNot(): void
    {
        $this->publishKeyed([['a', 1], ['b', 2], ['a', 3], ['b', 4], ['a', 5]]);
        $broker = $this->batch([1 => 2], ['retry_backoff_ms' => 200, 'retry_backoff_max_ms' => 200]);
        self::assertSame(5, $this->drain($broker));
        self::assertSame([2, 4, 1, 3, 5], $this->handled);
    }

    public function testAnyOtherExceptionIsAttributedToTheFirstRecord(): void
    {
        $this->publishKeyed(['a' => 1, 'b' => 2, 'c' => 3]);
        $broker = $this->broker(['max_retries' => 1]);
        $broker->subscribeBatch('user.1', function (array $messages): void {
            $this->lists[] = self::tried($messages);
            if ($messages[0]->getData() === 1) {
                throw new DomainException('no');
            }
            array_push($this->handled, ...self::data($messages));
        });
        self::assertSame(3, $this->drain($broker));
        self::assertSame([2, 3], $this->handled);
        $tries = array_merge(...$this->lists);
        self::assertContains('1#2', $tries);
        self::assertNotContains('1#3', $tries);
        self::assertNotContains('2#2', $tries, 'that it was in the list is no failure of its own');
        self::assertCount(1, $this->letters(1, $this->channelTopic('user.1')));
    }

    public function testEveryRecordOfABatchFails(): void
    {
        $this->publishKeyed(['a' => 1, 'b' => 2, 'c' => 3, 'd' => 4, 'e' => 5]);
        $broker = $this->batch(array_fill_keys(range(1, 5), self::ALWAYS), ['max_retries' => 1]);
        self::assertSame(5, $this->drain($broker));
        self::assertSame([], $this->handled);
        $tries = array_count_values(array_map(
            static fn (array $list) => strtok($list[0], '#'),
            array_filter($this->lists)
        ));
        self::assertSame(10, $broker->stats()['failures'], json_encode($tries) ?: '');
        self::assertCount(5, $this->letters(5, $this->channelTopic('user.1')));
    }

    /** @dataProvider indexes */
    #[DataProvider('indexes')]
    public function testAnIndexOutsideTheBatchLosesNothing(int $index): void
    {
        $this->publishKeyed(['a' => 1, 'b' => 2, 'c' => 3]);
        $broker = $this->broker(['max_retries' => 0]);
        $broker->subscribeBatch('user.1', function (array $messages) use ($index): void {
            $this->lists[] = self::tried($messages);
            if (count($this->lists) === 1) {
                throw new BatchException($index);
            }
            array_push($this->handled, ...self::data($messages));
        });
        self::assertSame(3, $this->drain($broker));
        $letters = $this->letters(1, $this->channelTopic('user.1'));
        self::assertCount(1, $letters, 'one of the list failed');
        self::assertNotContains($this->letterData($letters[0]), $this->handled);
    }

    /** @return array<string, array{int}> */
    public static function indexes(): array
    {
        return ['too large' => [1000], 'negative' => [-1]];
    }

    public function testWithDeadLettersOffItThrowsAfterTheLastAttempt(): void
    {
        $this->publishKeyed(['a' => 1, 'b' => 2, 'c' => 3]);
        $broker = $this->batch([2 => self::ALWAYS], ['dlq' => false, 'max_retries' => 1]);
        $e = $this->drainThrows($broker);
        self::assertInstanceOf(BatchException::class, $e);
        self::assertSame('no 2', $e->getPrevious()?->getMessage());
        self::assertContains(1, $this->handled);
        self::assertSame(['2#1', '2#2'], array_values(preg_grep('/^2#/', array_merge(...$this->lists)) ?: []));
        $broker->close();
        self::assertContains(2, $this->rest('user.1'));
    }

    public function testMaxMessagesIsExact(): void
    {
        $this->publishKeyed(['a' => 1, 'b' => 2, 'c' => 3, 'd' => 4, 'e' => 5, 'f' => 6]);
        $broker = $this->batch([2 => self::ALWAYS], ['max_retries' => 0]);
        self::assertSame(4, $broker->consume(batchSize: 3, maxMessages: 4));
        self::assertSame([1, 3, 4], $this->handled);
        $broker->close();
        self::assertSame([5, 6], $this->rest('user.1'));
    }

    public function testAStopLeavesTheFailedRecordAndTheRestUncommitted(): void
    {
        $this->publishKeyed(['a' => 1, 'b' => 2, 'c' => 3, 'd' => 4]);
        $broker = $this->broker();
        $broker->subscribeBatch('user.1', function (array $messages) use ($broker): void {
            if (end($messages)->getData() !== 4) {
                // The first message of a producer is sent alone, and may be fetched alone.
                return;
            }
            $this->lists[] = self::tried($messages);
            $broker->stopConsuming();
            throw new BatchException(count($messages) - 2, new DomainException('no'));
        });
        self::assertSame(2, self::within(10.0, $broker)->consume(), 'those before it are handled');
        self::assertCount(1, $this->lists);
        $broker->close();
        self::assertSame([3, 4], $this->rest('user.1'));
    }

    public function testBatchAndSingleSubscriptionsSideBySide(): void
    {
        $this->publishKeyed(['a' => 1, 'b' => 2, 'c' => 3]);
        $this->produce(['A1', 'B1']);
        $broker = $this->batch([2 => 1])->subscribeTopic($this->topic(), $this->handler(['A1' => 1]));
        self::assertSame(5, $this->drain($broker));
        self::assertSame([1, 3, 2], $this->handled);
        self::assertSame(['B1', 'A1'], $this->done);
    }

    /**
     * Publishes to user.1, one partition, in this order.
     *
     * @param array<string, int>|list<array{string, int}> $records key => data, or both of each
     */
    private function publishKeyed(array $records): void
    {
        $broker = Realtime::broker();
        foreach ($records as $key => $data) {
            [$key, $data] = is_array($data) ? $data : [$key, $data];
            $broker->send($this->channelTopic('user.1'), Message::event('user.1', 'e', $data)->toJson(), $key, [], 0);
        }
        Realtime::flush();
    }

    /**
     * Handles the batches of user.1 until one fails.
     *
     * @param array<int, int> $failing data => how many of its tries fail
     * @param array<string, mixed> $config
     */
    private function batch(array $failing, array $config = []): Broker
    {
        return $this->broker($config)->subscribeBatch('user.1', function (array $messages) use ($failing): void {
            $this->lists[] = [];
            foreach ($messages as $index => $message) {
                $data = $message->getData();
                $this->lists[array_key_last($this->lists)][] = "$data#{$message->getAttempt()}";
                if ($message->getAttempt() <= ($failing[$data] ?? 0)) {
                    throw new BatchException($index, new DomainException("no $data"));
                }
                $this->handled[] = $data;
            }
        });
    }

    /**
     * @param list<Message> $messages
     *
     * @return list<string>
     */
    private static function tried(array $messages): array
    {
        return array_map(static fn (Message $m) => "{$m->getData()}#{$m->getAttempt()}", $messages);
    }

    /**
     * @param list<Message> $messages
     *
     * @return list<int>
     */
    private static function data(array $messages): array
    {
        return array_map(static fn (Message $message) => $message->getData(), $messages);
    }

    private function letterData(Message $letter): mixed
    {
        return json_decode((string) $letter->getPayload(), true)['data'];
    }
}
