<?php

/**
 * Stop, close, unsubscribe, seek and pause while a record waits for its retry: no record behind it is lost.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Delivery;

use DomainException;
use PHPUnit\Framework\Attributes\DataProvider;
use Throwable;
use Toporia\Realtime\Broker;
use Toporia\Realtime\Message;

final class PendingRetryBrokerTest extends DeliveryTestCase
{
    /** Delays that outlast every test. */
    private const LONG = ['retry_backoff_ms' => 60_000, 'retry_backoff_max_ms' => 60_000];
    /** Delays that leave time for something else. */
    private const HALF_A_SECOND = ['retry_backoff_ms' => 500, 'retry_backoff_max_ms' => 500];

    public function testAStopDoesNotWaitAndTheRecordStaysUncommitted(): void
    {
        $this->produce(['A1', 'B1', 'C1', 'A2', 'D1']);
        $broker = $this->consumer(['B1' => self::ALWAYS], self::LONG);
        self::stopWhen($broker, fn (): bool => in_array('D1', $this->done, true));
        $start = microtime(true);
        self::assertSame(4, $broker->consume(), 'a record in the retry queue is not handled');
        self::assertSame(1, $broker->stats()['parked']);
        $broker->close();
        self::assertLessThan(3.0, microtime(true) - $start);
        self::assertSame([0 => 1], $this->committed($this->topic()), 'up to it');

        $left = $this->left();
        self::assertContains('B1', $left);
        self::assertSame([], array_diff(['A1', 'B1', 'C1', 'A2', 'D1'], $left, $this->done), 'nothing is lost');
        self::assertSame([], $this->letters());
    }

    public function testRecordsHeldBackBehindItAreNotLost(): void
    {
        $this->produce(['A1', 'A2', 'B1', 'A3']);
        $broker = $this->consumer(['A1' => self::ALWAYS], self::LONG);
        self::stopWhen($broker, fn (): bool => $this->done === ['B1'] && $broker->stats()['parked'] > 0);
        self::assertSame(1, $broker->consume());
        $broker->close();
        $left = $this->left();
        self::assertSame(['A1', 'A2', 'A3'], array_values(preg_grep('/^A/', $left) ?: []), 'in order');
    }

    public function testTheSameBrokerResumesWhereItStopped(): void
    {
        $this->produce(['A1', 'B1', 'C1', 'D1', 'E1']);
        $broker = $this->consumer(['B1' => 1], self::HALF_A_SECOND);
        self::assertSame(3, $broker->consume(maxMessages: 3), 'not waiting for the one that failed');
        self::assertSame(['A1', 'C1', 'D1'], $this->done);
        self::assertSame(2, $this->drain($broker));
        self::assertEqualsCanonicalizing(['A1', 'B1', 'C1', 'D1', 'E1'], $this->done, 'nothing behind it again');
        $broker->close();
        self::assertSame([], $this->left());
    }

    public function testALoopOfShortRunsGivesUpAPoisonRecord(): void
    {
        $this->produce(['A1', 'B1', 'C1']);
        $broker = $this->consumer(['A1' => self::ALWAYS], ['max_retries' => 2, 'retry_backoff_ms' => 20]);
        for ($run = 0, $handled = 0; $run < 10 && $handled < 3; $run++) {
            $handled += self::within(10.0, $broker)->consume(maxMessages: 1);
        }
        self::assertSame(['A1#1', 'A1#2', 'A1#3'], $this->triesOf('A1'));
        self::assertSame(['B1', 'C1'], $this->done);
        self::assertSame(0, $broker->consume(stopWhenEmpty: true), 'and nothing is left for one that looks for the end');
        $broker->close();
        self::assertSame(['A1'], $this->letterValues(1));
    }

    public function testStopWhenEmptyWaitsForIt(): void
    {
        $this->produce(['A1', 'B1']);
        $start = microtime(true);
        self::assertSame(2, $this->drain($this->consumer(['A1' => 1], self::HALF_A_SECOND)));
        self::assertGreaterThan(0.44, microtime(true) - $start);
        self::assertSame(['B1', 'A1'], $this->done);
    }

    public function testPollingContinuesWhileItWaits(): void
    {
        $this->produce(['A1']);
        $broker = $this->consumer(['A1' => 1], self::HALF_A_SECOND);
        $sent = false;
        $broker->onTick(function () use (&$sent): void {
            if (!$sent && $this->tries === ['A1#1']) {
                $sent = true;
                $this->produce(['B1']);
            }
        }, 20);
        self::assertSame(2, $broker->consume(timeoutMs: 20_000, maxMessages: 2), 'a long poll does not delay the try');
        self::assertSame(['A1#1', 'B1#1', 'A1#2'], $this->tries);
    }

    public function testItsSubscriptionIsReplaced(): void
    {
        $this->produce(['A1']);
        $broker = $this->consumer();
        $second = [];
        $broker->subscribeTopic($this->topic(), function () use ($broker, &$second): void {
            $broker->subscribeTopic($this->topic(), static function (Message $message) use (&$second): void {
                $second[] = $message->getAttempt();
            });
            throw new DomainException('no');
        });
        self::assertSame(1, $this->drain($broker));
        self::assertSame([2], $second, 'the callback of the time of the try');
    }

    public function testItsSubscriptionIsRemoved(): void
    {
        $this->produce(['A1', 'B1']);
        $this->produce(['C1'], 0, $this->topic('other'));
        $broker = $this->consumer(['A1' => self::ALWAYS], self::HALF_A_SECOND);
        $broker->subscribeTopic($this->topic('other'), $this->handler([]));
        $broker->onTick(function (Broker $broker): void {
            if (in_array('B1', $this->done, true) && in_array('C1', $this->done, true)) {
                $broker->unsubscribe($this->topic());
            }
        }, 20);
        $start = microtime(true);
        self::assertSame(2, $this->drain($broker));
        self::assertLessThan(12.0, microtime(true) - $start);
        self::assertSame(['A1#1'], $this->triesOf('A'), 'nobody listens any more');
        $broker->close();
        self::assertContains('A1', $this->left(), 'whoever listens again gets it');
    }

    public function testTheLastSubscriptionIsRemoved(): void
    {
        $this->produce(['A1', 'B1']);
        $broker = $this->consumer(['A1' => self::ALWAYS], self::LONG);
        $broker->onTick(function (Broker $broker): void {
            if ($this->done === ['B1']) {
                $broker->unsubscribe($this->topic());
            }
        }, 20);
        $start = microtime(true);
        self::assertSame(1, $broker->consume());
        self::assertLessThan(5.0, microtime(true) - $start);
        $broker->close();
        self::assertContains('A1', $this->left());
    }

    public function testASeekBackDeliversItOnce(): void
    {
        $this->produce(['A1', 'B1', 'C1', 'D1']);
        $broker = $this->consumer(['B1' => 1], self::HALF_A_SECOND);
        $sought = false;
        $broker->onTick(function (Broker $broker) use (&$sought): void {
            if (!$sought && $this->done === ['A1', 'C1', 'D1']) {
                $sought = true;
                $broker->seek($this->topic(), 0, 'beginning');
            }
        }, 10);
        $this->drain($broker);
        self::assertTrue($sought);
        self::assertSame(
            ['A1' => 2, 'C1' => 2, 'D1' => 2, 'B1' => 1],
            array_count_values($this->done),
            'the copy in the retry queue is dropped, as the seek delivers it again'
        );
        self::assertSame(0, $broker->stats()['parked']);
        $broker->close();
        self::assertSame([], $this->left());
    }

    public function testASeekBeyondItSkipsIt(): void
    {
        $this->produce(['A1', 'B1', 'C1']);
        $broker = $this->consumer(['B1' => self::ALWAYS], self::LONG);
        $sought = false;
        $broker->onTick(function (Broker $broker) use (&$sought): void {
            if (!$sought && $this->done === ['A1', 'C1']) {
                $sought = true;
                $broker->seek($this->topic(), 0, 'end');
            }
        }, 10);
        $start = microtime(true);
        $this->drain($broker);
        self::assertTrue($sought);
        self::assertLessThan(10.0, microtime(true) - $start);
        self::assertSame(['B1#1'], $this->triesOf('B'));
        $this->produce(['D1']);
        self::assertSame(1, self::within(15.0, $broker)->consume(maxMessages: 1));
        $broker->close();
        self::assertSame([], $this->left(), 'whoever seeks has decided');
    }

    public function testAPausedPartitionStaysPausedUntilItIsResumed(): void
    {
        $this->produce(['A1', 'B1']);
        $broker = $this->consumer(['A1' => 1], ['retry_max_parked' => 1] + self::HALF_A_SECOND);
        $paused = $resumed = null;
        $broker->onTick(function (Broker $broker) use (&$paused, &$resumed): void {
            if ($paused === null && $this->tries !== []) {
                $broker->pause($this->topic(), 0);
                $this->produce(['C1', 'D1']);
                $paused = microtime(true);
            }
            // Longer than the delay: the end of the limit's own pause must not end the user's pause.
            if ($resumed === null && $paused !== null && microtime(true) - $paused > 1.2) {
                self::assertNotContains('D1', $this->done);
                $resumed = microtime(true);
                $broker->resume($this->topic(), 0);
            }
        }, 20);
        self::assertSame(4, $broker->consume(maxMessages: 4));
        self::assertNotNull($resumed, 'nothing was fetched before');
        self::assertEqualsCanonicalizing(['A1', 'B1', 'C1', 'D1'], $this->done);
    }

    /** @dataProvider ways */
    #[DataProvider('ways')]
    public function testFromItsOwnCallbackBeforeItFails(string $way): void
    {
        $this->produce(['A1', 'B1']);
        $broker = $this->consumer();
        $broker->subscribeTopic($this->topic(), function (Message $message) use ($broker, $way): void {
            $this->tries[] = (string) $message->getPayload();
            $way === 'unsubscribe' ? $broker->unsubscribe($this->topic()) : $broker->$way();
            throw new DomainException('no');
        });
        try {
            self::assertSame(0, self::within(10.0, $broker)->consume());
        } catch (Throwable $e) {
            self::fail("$way(): " . get_class($e) . ': ' . $e->getMessage());
        }
        self::assertSame(['A1'], $this->tries);
        $broker->close();
        self::assertSame(['A1', 'B1'], $this->left(), 'not handled, not committed');
    }

    /** @return array<string, array{string}> */
    public static function ways(): array
    {
        return ['stopConsuming' => ['stopConsuming'], 'close' => ['close'], 'unsubscribe' => ['unsubscribe']];
    }

    public function testAScriptThatEndsWithPendingRetriesEndsCleanly(): void
    {
        $this->produce(['A1', 'B1', 'C1']);
        $code = $this->script(
            'if ($record === "A1") { throw new DomainException("no"); }',
            var_export(self::LONG, true),
            'maxMessages: 2'
        );
        $result = $this->runPhp("$code echo 'end';", ['timeout' => 10.0])->assertExit();
        self::assertSame("returned 2 max_messages\nend", $result->stdout);
        self::assertLessThan(5.0, $result->seconds);
        self::assertContains('A1', $this->left());
    }
}
