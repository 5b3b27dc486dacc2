<?php

/**
 * When offsets are committed: at the interval, at the end, and never before the messages that callbacks sent are
 * acknowledged.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Consuming;

use Toporia\Realtime\Broker;
use Toporia\Realtime\EmbeddedBroker;
use Toporia\Realtime\Exception\DeliveryException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;

final class CommitBrokerTest extends ConsumingTestCase
{
    public function testItCommitsAtEveryInterval(): void
    {
        $this->publish('user.1', range(1, 30));
        $during = [];
        $broker = $this->broker(['consumer_config' => ['auto.commit.interval.ms' => 200]]);
        $broker->subscribe('user.1', static function () use ($broker, &$during): void {
            usleep(40_000);
            $during[] = $broker->stats()['commits'];
        });
        $this->drain($broker);
        // 1.2 s of work: about six intervals.
        self::assertGreaterThanOrEqual(3, end($during));
        self::assertLessThanOrEqual(8, end($during));
        self::assertSame(0, $broker->stats()['commit_failures']);
    }

    public function testTheIntervalIsASecondByDefault(): void
    {
        $this->publish('user.1', range(1, 55));
        $during = 0;
        $broker = $this->broker();
        $broker->subscribe('user.1', static function () use ($broker, &$during): void {
            usleep(40_000);
            $during = $broker->stats()['commits'];
        });
        $this->drain($broker);
        self::assertGreaterThanOrEqual(1, $during);
        self::assertLessThanOrEqual(2, $during);
    }

    public function testCommittedOffsetsSurviveAKill(): void
    {
        $this->publish('user.1', range(1, 5));
        $child = $this->startPhp(<<<'PHP'
            $broker = new Broker(['consumer_config' => ['auto.commit.interval.ms' => 100]]);
            $broker->subscribe('user.1', function () {});
            $broker->onTick(function ($broker) {
                echo 'commits ' . $broker->stats()['commits'] . ' of ' . $broker->stats()['handled'] . "\n";
            }, 50)->consume();
            PHP);
        $child->waitForOutput('/^commits [1-9]\d* of 5$/m');
        // Three intervals: the commit that was reported may be older than the last record.
        usleep(300_000);
        $child->signal(9)->wait();
        self::assertContains(5, $this->committed($this->channelTopic('user.1')));
    }

    public function testConsumeCommitsBeforeItReturns(): void
    {
        $this->publish('user.1', range(1, 3));
        $config = ['consumer_config' => ['auto.commit.interval.ms' => 60_000]];
        $broker = $this->broker($config)->subscribe('user.1', static fn () => null);
        $broker->consume(maxMessages: 2);
        self::assertSame(1, $broker->stats()['commits']);
        $broker->consume(maxMessages: 1);
        self::assertSame(2, $broker->stats()['commits']);
    }

    public function testWithoutHandledRecordsNothingIsCommitted(): void
    {
        $broker = $this->broker(['consumer_config' => ['auto.commit.interval.ms' => 50]]);
        $broker->subscribe('user.1', static fn () => null);
        self::within(0.5, $broker)->consume();
        self::assertSame(0, $broker->stats()['commits']);
    }

    public function testTheUsersOwnSettingsCannotCommitTooEarly(): void
    {
        $this->publish('user.1', [1, 2]);
        $broker = $this->broker(['consumer_config' => ['auto.commit.interval.ms' => 50]] + self::AT_ONCE);
        $broker->subscribe('user.1', static function (): void {
            usleep(400_000);
            throw new \DomainException('no');
        });
        try {
            $this->drain($broker);
            self::fail('It went on.');
        } catch (\DomainException) {
            $broker->close();
        }
        self::assertSame([1, 2], $this->rest('user.1'));
    }

    public function testACommitWaitsForTheMessagesOfTheCallback(): void
    {
        $this->publish('in', [1]);
        $port = self::freePort();
        $later = new Broker($this->config(['brokers' => "127.0.0.1:$port"]));
        $broker = $this->broker(['consumer_config' => ['auto.commit.interval.ms' => 50]]);
        $broker->subscribe('in', function () use ($later): void {
            $later->send($this->topic('out'), 'made');
        });
        $kafka = null;
        $commits = [];
        $start = microtime(true);
        $broker->onTick(static function (Broker $broker) use ($port, $start, &$kafka, &$commits): void {
            $commits[] = $broker->stats()['commits'];
            if ($kafka === null && microtime(true) - $start > 1.2) {
                $kafka = EmbeddedBroker::start($port);
            }
            if (end($commits) > 0 || microtime(true) - $start > 20.0) {
                $broker->stopConsuming();
            }
        }, 50);
        self::assertSame(1, $broker->consume());
        self::assertNotNull($kafka, 'nothing was committed before there was a Kafka to take the output');
        self::assertSame(1, end($commits));
        self::assertSame(0, Realtime::stats()['queued']);
        $later->close();
        $kafka->stop();
    }

    public function testAFailedDeliveryEndsConsumeAndTheOffsetStays(): void
    {
        $this->publish('in', [1, 2, 3]);
        $broker = $this->failing();
        try {
            $broker->consume(maxMessages: 3);
            self::fail('It went on.');
        } catch (DeliveryException $e) {
            self::assertSame($this->topic('nowhere'), $e->getFailed()[0]['topic']);
            self::assertStringContainsString('not committed', $e->getMessage());
        }
        self::assertSame('error', $broker->stats()['stop_reason']);
        $broker->close();
        self::assertSame([1, 2, 3], $this->rest('in'));
    }

    public function testAFailedDeliveryFoundAtTheIntervalStaysUncommittedToo(): void
    {
        $this->publish('in', range(1, 200));
        $broker = $this->failing(['consumer_config' => ['auto.commit.interval.ms' => 100]], 20_000);
        try {
            $broker->consume();
            self::fail('It went on.');
        } catch (DeliveryException $e) {
            self::assertNotSame([], $e->getFailed());
        }
        self::assertLessThan(200, $broker->stats()['handled'], 'it ended in mid-run');
        $broker->close();
        self::assertSame(range(1, 200), $this->rest('in'));
    }

    public function testAfterAFailedDeliveryTheSameBrokerDeliversTheRecordsAgain(): void
    {
        $this->publish('in', [1, 2, 3]);
        $nowhere = $this->nowhere();
        $failing = true;
        $seen = [];
        $broker = $this->broker();
        $broker->subscribe('in', function (Message $message) use ($nowhere, &$failing, &$seen): void {
            $seen[] = $message->getData();
            if ($failing) {
                $nowhere->send($this->topic('nowhere'), 'lost');
            }
        });
        try {
            $broker->consume(maxMessages: 3);
            self::fail('It went on.');
        } catch (DeliveryException) {
            $failing = false;
        }
        self::assertSame([1, 2, 3], $seen);
        self::within(15.0, $broker)->consume(maxMessages: 3);
        self::assertSame([1, 2, 3, 1, 2, 3], $seen);
        $broker->close();
        self::assertSame([], $this->rest('in'));
    }

    public function testAFailureBeforeConsumingIsNotAttributedToTheCallback(): void
    {
        $this->publish('in', [1]);
        $before = Realtime::stats()['delivery_failures'];
        $this->nowhere()->send($this->topic('nowhere'), 'lost');
        self::eventually(static fn (): bool => Realtime::stats()['delivery_failures'] > $before, 'the delivery fails');
        $broker = $this->broker()->subscribe('in', static fn () => null);
        self::assertSame(1, $this->drain($broker));
        self::assertSame(1, $broker->stats()['commits']);
        try {
            Realtime::flush();
            self::fail('no callback was called.');
        } catch (DeliveryException $e) {
            self::assertSame($this->topic('nowhere'), $e->getFailed()[0]['topic']);
        }
    }

    /**
     * A broker whose callback sends to an unreachable Kafka.
     *
     * @param array<string, mixed> $config
     */
    private function failing(array $config = [], int $pauseUs = 0): Broker
    {
        $nowhere = $this->nowhere();

        return $this->broker($config)->subscribe('in', function () use ($nowhere, $pauseUs): void {
            $nowhere->send($this->topic('nowhere'), 'lost');
            usleep($pauseUs);
        });
    }

    /** A broker on which every delivery fails after 300 ms. */
    private function nowhere(): Broker
    {
        return new Broker($this->config([
            'brokers' => '127.0.0.1:1',
            'producer_config' => ['message.timeout.ms' => 300],
            'shutdown_flush_ms' => 500,
        ]));
    }

    protected function tearDown(): void
    {
        try {
            Realtime::flush(1000);
        } catch (DeliveryException) {
            // Clears the failures that a test caused on purpose, so that the next test does not get them reported.
        }
        parent::tearDown();
    }
}
