<?php

/**
 * poll(), ack() and nack(): offsets advance to the lowest message without an ack; failures are retried or
 * dead-lettered.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Consuming;

use DomainException;
use Toporia\Realtime\Broker;
use Toporia\Realtime\Exception\PermanentException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;

final class PollBrokerTest extends ConsumingTestCase
{
    public function testMessagesAreReturnedOneByOneAndThenNull(): void
    {
        $this->publish('user.1', [1, 2, 3]);
        $broker = $this->broker()->subscribe('user.1');
        $messages = $this->poll($broker, 3);
        self::assertSame([1, 2, 3], self::data($messages));
        self::assertSame('user.1', $messages[0]->getChannel());
        self::assertSame(1, $messages[0]->getAttempt());
        self::assertNull($broker->poll(100));
    }

    public function testPollWaitsAtMostItsTimeout(): void
    {
        $broker = $this->broker()->subscribe('user.1');
        $broker->poll(500);
        foreach ([0, 300] as $timeout) {
            $start = microtime(true);
            self::assertNull($broker->poll($timeout));
            self::assertEqualsWithDelta($timeout / 1000, microtime(true) - $start, 0.2);
        }
    }

    public function testUnacknowledgedMessagesAreDeliveredToANewMember(): void
    {
        $this->publish('user.1', range(1, 5));
        $broker = $this->broker()->subscribe('user.1');
        $messages = $this->poll($broker, 5);
        $broker->ack($messages[0]);
        $broker->ack($messages[1]);
        self::assertSame(2, $broker->stats()['handled']);
        $broker->close();
        self::assertSame([3, 4, 5], $this->rest('user.1'));
    }

    public function testAGapHoldsTheOffsetBack(): void
    {
        $this->publish('user.1', range(1, 5));
        $broker = $this->broker()->subscribe('user.1');
        $messages = $this->poll($broker, 5);
        foreach ([4, 1, 0, 3] as $i) {
            $broker->ack($messages[$i]);
        }
        $broker->close();
        self::assertSame([3, 4, 5], $this->rest('user.1'), 'up to the lowest open one, 3');
    }

    public function testAcknowledgedInAnyOrderNothingIsLeft(): void
    {
        $this->publish('user.1', range(1, 5));
        $broker = $this->broker()->subscribe('user.1');
        foreach (array_reverse($this->poll($broker, 5)) as $message) {
            $broker->ack($message);
        }
        $broker->close();
        self::assertSame([], $this->rest('user.1'));
    }

    public function testAckTwiceIsHarmless(): void
    {
        $this->publish('user.1', [1, 2]);
        $broker = $this->broker()->subscribe('user.1');
        $messages = $this->poll($broker, 2);
        $broker->ack($messages[0]);
        $broker->ack($messages[0]);
        self::assertSame(1, $broker->stats()['handled']);
        $broker->close();
        self::assertSame([2], $this->rest('user.1'));
    }

    public function testAcknowledgementsReachKafkaWithoutClosing(): void
    {
        $this->publish('user.1', [1, 2]);
        $child = $this->startPhp(<<<'PHP'
            $broker = new Broker();
            $broker->subscribe('user.1');
            $broker->ack($broker->poll(15000));
            while (true) {
                $broker->poll(50);
                echo 'commits ', $broker->stats()['commits'], "\n";
            }
            PHP);
        $child->waitForOutput('/^commits [1-9]/m');
        $child->signal(9)->wait();
        self::assertContains(1, $this->committed($this->channelTopic('user.1')));
    }

    public function testNackDeliversItAgainAfterADelayAsAnotherAttempt(): void
    {
        $this->publish('user.1', [1, 2]);
        $broker = $this->broker(['retry_backoff_ms' => 300])->subscribe('user.1');
        [$first, $second] = $this->poll($broker, 2);
        $start = microtime(true);
        $broker->nack($first, new DomainException('not now'));
        $broker->ack($second);
        $again = $broker->poll(5000);
        self::assertNotNull($again);
        self::assertSame(1, $again->getData());
        self::assertSame(2, $again->getAttempt());
        self::assertSame($first->getId(), $again->getId());
        self::assertSame($first->getOffset(), $again->getOffset());
        // Jitter may shorten the delay, by at most half.
        self::assertGreaterThan(0.14, microtime(true) - $start);
        self::assertSame(1, $broker->stats()['failures']);
        $broker->ack($again);
        $broker->close();
        self::assertSame([], $this->rest('user.1'));
    }

    public function testANackedMessageHoldsTheOffsetUntilItIsAcknowledged(): void
    {
        $this->publish('user.1', [1, 2]);
        $broker = $this->broker()->subscribe('user.1');
        [$first, $second] = $this->poll($broker, 2);
        $broker->nack($first);
        $broker->ack($second);
        $broker->close();
        self::assertSame([1, 2], $this->rest('user.1'));
    }

    public function testAfterTheLastAttemptItIsDeadLettered(): void
    {
        $this->publish('user.1', [1, 2]);
        $broker = $this->broker(['retry_backoff_ms' => 10, 'max_retries' => 2])->subscribe('user.1');
        $attempts = [];
        $other = 0;
        $deadline = microtime(true) + 15.0;
        while (count($attempts) < 3 && microtime(true) < $deadline) {
            $message = $broker->poll(1000);
            if ($message?->getData() === 1) {
                $attempts[] = $message->getAttempt();
                $broker->nack($message, new DomainException('try ' . count($attempts)));
            } elseif ($message !== null) {
                $other++;
                $broker->ack($message);
            }
        }
        self::assertSame([1, 2, 3], $attempts);
        self::assertSame(0, $other, 'the key waits with its message');
        self::assertSame(2, ($second = $broker->poll(5000))?->getData());
        $broker->ack($second);
        self::assertNull($broker->poll(300));
        $broker->close();
        self::assertSame([], $this->rest('user.1'), 'its offset moved on');

        $letters = $this->consumeAll('dlq.' . $this->channelTopic('user.1'), 1);
        self::assertCount(1, $letters);
        $headers = $letters[0]->getHeaders();
        self::assertStringContainsString('"data":1', (string) $letters[0]->getPayload());
        self::assertSame('user.1', $letters[0]->getKey());
        self::assertSame($this->channelTopic('user.1'), $headers['x-original-topic']);
        self::assertSame('0', $headers['x-original-offset']);
        self::assertSame($this->group, $headers['x-original-group']);
        self::assertSame(DomainException::class, $headers['x-exception-class']);
        self::assertSame('try 3', $headers['x-exception-message']);
        self::assertSame('3', $headers['x-attempts']);
    }

    public function testAPermanentFailureIsNotRetried(): void
    {
        $this->publish('user.1', [1]);
        $broker = $this->broker()->subscribe('user.1');
        [$message] = $this->poll($broker, 1);
        $broker->nack($message, new PermanentException('never'));
        self::assertNull($broker->poll(300));
        $broker->close();
        $letters = $this->consumeAll('dlq.' . $this->channelTopic('user.1'), 1);
        self::assertCount(1, $letters);
        self::assertSame('1', $letters[0]->getHeaders()['x-attempts']);
        self::assertSame(PermanentException::class, $letters[0]->getHeaders()['x-exception-class']);
        self::assertSame([], $this->rest('user.1'));
    }

    public function testABrokerClosedByAHookOfNackClosesAfterTheDeadLetter(): void
    {
        $this->publish('user.1', [1, 2]);
        $broker = $this->broker()->subscribe('user.1');
        $broker->onFailed(static fn () => $broker->close());
        [$message] = $this->poll($broker, 1);
        $broker->nack($message, new PermanentException('never'));
        $broker->nack($message);
        self::assertCount(1, $this->consumeAll('dlq.' . $this->channelTopic('user.1'), 1));
        self::assertSame([2], $this->rest('user.1'), 'the offset of the first message is committed');
        $this->expectExceptionMessage('is closed');
        $broker->poll(0);
    }

    public function testNackTwiceDeliversItOnceMore(): void
    {
        $this->publish('user.1', [1]);
        $broker = $this->broker(['retry_backoff_ms' => 20])->subscribe('user.1');
        [$message] = $this->poll($broker, 1);
        $broker->nack($message);
        $broker->nack($message);
        self::assertSame(2, $broker->poll(2000)?->getAttempt());
        self::assertNull($broker->poll(400));
    }

    public function testNackAfterAckIsTooLate(): void
    {
        $this->publish('user.1', [1]);
        $broker = $this->broker(['retry_backoff_ms' => 20])->subscribe('user.1');
        [$message] = $this->poll($broker, 1);
        $broker->ack($message);
        $broker->nack($message);
        self::assertNull($broker->poll(400));
        $broker->close();
        self::assertSame([], $this->rest('user.1'));
    }

    public function testAckAfterNackCancelsTheRetry(): void
    {
        $this->publish('user.1', [1]);
        $broker = $this->broker(['retry_backoff_ms' => 20])->subscribe('user.1');
        [$message] = $this->poll($broker, 1);
        $broker->nack($message);
        $broker->ack($message);
        self::assertNull($broker->poll(400));
        $broker->close();
        self::assertSame([], $this->rest('user.1'));
    }

    public function testLaterMessagesOfTheKeyWaitForARejectedOne(): void
    {
        foreach (['a1', 'b1', 'a2', '-1', 'a3', 'b2'] as $value) {
            Realtime::broker()->send($this->topic(), $value, $value[0] === '-' ? null : $value[0], [], 0);
        }
        Realtime::flush();
        $broker = $this->broker(['retry_backoff_ms' => 400])->subscribeTopic($this->topic());
        $values = [];
        for ($end = microtime(true) + 20; count($values) < 9 && microtime(true) < $end;) {
            $message = $broker->poll(1000);
            if ($message === null) {
                continue;
            }
            $values[] = "{$message->getPayload()}#{$message->getAttempt()}";
            if ($message->getAttempt() === 1 && in_array($message->getPayload(), ['a1', 'a2', '-1'], true)) {
                $broker->nack($message);
            } else {
                $broker->ack($message);
            }
        }
        $of = static fn (string $key) => array_values(array_filter($values, static fn ($v) => $v[0] === $key));
        self::assertSame(['a1#1', 'a1#2', 'a2#1', 'a2#2', 'a3#1'], $of('a'));
        self::assertSame(['b1#1', 'b2#1'], $of('b'));
        self::assertSame(['-1#1', '-1#2'], $of('-'));
        self::assertLessThan(array_search('a1#2', $values, true), array_search('b2#1', $values, true));
        $broker->close();
        self::assertSame([6], array_values($this->committed($this->topic())));
    }

    public function testTwoRejectedMessagesOfAKeyKeepTheirOrder(): void
    {
        $this->publish('user.1', [1, 2, 3]);
        $broker = $this->broker(['retry_backoff_ms' => 200])->subscribe('user.1');
        [$first, $second] = $this->poll($broker, 2);
        $broker->nack($second);
        $broker->nack($first);
        $data = [];
        for ($n = 0; $n < 3; $n++) {
            [$message] = $this->poll($broker, 1);
            $data[] = $message->getData();
            $broker->ack($message);
        }
        self::assertSame([1, 2, 3], $data);
        $broker->close();
        self::assertSame([], $this->rest('user.1'));
    }

    public function testAMessageOfADeadLetterTopicIsNotDeadLetteredAgain(): void
    {
        $topic = 'dlq.' . $this->topic();
        $this->send($topic, ['letter']);
        $broker = $this->broker(['retry_backoff_max_ms' => 300, 'retry_backoff_ms' => 10])->subscribeTopic($topic);
        [$message] = $this->poll($broker, 1);
        $broker->nack($message, new PermanentException('never'));
        [$again] = $this->poll($broker, 1);
        self::assertSame(['letter', 2], [$again->getPayload(), $again->getAttempt()]);
        self::assertSame(0, $broker->stats()['dead_lettered']);
        $broker->close();
    }

    public function testRejectedMessagesCountAsParkedAndAreBounded(): void
    {
        $broker = $this->broker(['retry_backoff_ms' => 700, 'retry_max_parked' => 1]);
        $broker->subscribeTopic($this->topic());
        Realtime::broker()->send($this->topic(), 'a1', 'a', [], 0);
        Realtime::flush();
        [$first] = $this->poll($broker, 1);
        $broker->nack($first);
        self::assertSame(1, $broker->stats()['parked']);
        Realtime::broker()->send($this->topic(), 'b1', 'b', [], 0);
        Realtime::flush();
        $values = [];
        foreach ([1, 2] as $ignored) {
            [$message] = $this->poll($broker, 1);
            $values[] = "{$message->getPayload()}#{$message->getAttempt()}";
            $broker->ack($message);
        }
        self::assertSame(['a1#2', 'b1#1'], $values, 'with retry_max_parked waiting the partition waits, too');
        self::assertSame(0, $broker->stats()['parked']);
    }

    public function testTheSameKeyInAnotherPartitionDoesNotWait(): void
    {
        $this->createTopic($this->topic(), 2);
        foreach (['a1' => 0, 'a2' => 0, 'other' => 1] as $value => $partition) {
            Realtime::broker()->send($this->topic(), $value, 'a', [], $partition);
        }
        Realtime::flush();
        $broker = $this->broker(['retry_backoff_ms' => 60_000, 'retry_backoff_max_ms' => 60_000]);
        $broker->subscribeTopic($this->topic());
        $values = [];
        for ($end = microtime(true) + 15; count($values) < 2 && microtime(true) < $end;) {
            $message = $broker->poll(500);
            if ($message === null) {
                continue;
            }
            $values[] = $message->getPayload();
            $message->getPayload() === 'a1' ? $broker->nack($message) : $broker->ack($message);
        }
        self::assertEqualsCanonicalizing(['a1', 'other'], $values);
        self::assertNull($broker->poll(300));
        $broker->close();
        $left = [];
        $next = $this->broker()->subscribeTopic($this->topic(), static function (Message $message) use (&$left): void {
            $left[] = $message->getPayload();
        });
        $this->drain($next);
        self::assertSame(['a1', 'a2'], $left, 'a1 waited, and is read again with what follows');
    }

    public function testADeadLetterHasTheTimeOfItsRecord(): void
    {
        $before = (int) (microtime(true) * 1000);
        $this->publish('user.1', [1]);
        $broker = $this->broker(['retry_backoff_ms' => 10, 'max_retries' => 1])->subscribe('user.1');
        foreach ([1, 2] as $attempt) {
            [$message] = $this->poll($broker, 1);
            self::assertSame($attempt, $message->getAttempt());
            $broker->nack($message);
        }
        $broker->close();
        $headers = $this->consumeAll('dlq.' . $this->channelTopic('user.1'), 1)[0]->getHeaders();
        self::assertEqualsWithDelta($before, (int) $headers['x-original-timestamp'], 20_000);
    }

    public function testRawTopics(): void
    {
        $this->send($this->topic(), ['a', null]);
        $broker = $this->broker()->subscribeTopic($this->topic());
        $messages = $this->poll($broker, 2);
        self::assertSame(['a', null], array_map(static fn (Message $message) => $message->getPayload(), $messages));
        foreach ($messages as $message) {
            $broker->ack($message);
        }
        $broker->close();
        self::assertSame([2], array_values($this->committed($this->topic())));
    }

    public function testTheUsersPollLoopMayUnsubscribeAndSubscribe(): void
    {
        $this->publish('user.1', [1]);
        $this->publish('user.2', [2]);
        $broker = $this->broker()->subscribe('user.1');
        self::assertSame([1], self::data($this->poll($broker, 1)));
        $broker->unsubscribe('user.1')->subscribe('user.2');
        self::assertSame([2], self::data($this->poll($broker, 1)));
    }

    /**
     * Polls until this many messages were received.
     *
     * @return list<Message>
     */
    private function poll(Broker $broker, int $count): array
    {
        $messages = [];
        $deadline = microtime(true) + 15.0;
        while (count($messages) < $count && microtime(true) < $deadline) {
            $message = $broker->poll(1000);
            if ($message !== null) {
                $messages[] = $message;
            }
        }
        self::assertCount($count, $messages);

        return $messages;
    }

    /**
     * @param list<Message> $messages
     *
     * @return list<mixed>
     */
    private static function data(array $messages): array
    {
        return array_map(static fn (Message $message) => $message->getData(), $messages);
    }
}
