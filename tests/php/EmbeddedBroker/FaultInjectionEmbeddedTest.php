<?php

/**
 * Injected faults: sent and consumed messages survive temporary faults, and permanent ones are reported.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\EmbeddedBroker;

use PHPUnit\Framework\Attributes\DataProvider;
use Toporia\Realtime\Broker;
use Toporia\Realtime\EmbeddedBroker;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\ConnectionException;
use Toporia\Realtime\Exception\DeliveryException;
use Toporia\Realtime\Exception\MessageTooLargeException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Tests\Support\BrokerTestCase;

final class FaultInjectionEmbeddedTest extends BrokerTestCase
{
    private static ?EmbeddedBroker $own = null;
    private EmbeddedBroker $kafka;
    private string $orders;
    private string $errorLog;

    protected function setUp(): void
    {
        parent::setUp();
        // A broker of its own: faults affect all of its clients.
        $this->kafka = self::$own ??= EmbeddedBroker::start();
        $this->orders = $this->topic('orders');
        $this->kafka->createTopic($this->orders);
        // Clients log the faults.
        $this->errorLog = (string) ini_set('error_log', '/dev/null');
    }

    protected function tearDown(): void
    {
        $this->kafka->clearFaults();
        parent::tearDown();
        ini_set('error_log', $this->errorLog);
    }

    /** @dataProvider faultsThatPass */
    #[DataProvider('faultsThatPass')]
    public function testAFailedProduceIsRetriedAndArrivesOnce(string $error): void
    {
        $this->kafka->failNext('Produce', $error, 2);
        $broker = $this->onIt(['produce' => 'sync']);
        $broker->send($this->orders, 'one');
        $broker->send($this->orders, 'two');
        self::assertSame(['one', 'two'], $this->payloads($this->orders, 2));
    }

    /** @return array<string, array{string}> */
    public static function faultsThatPass(): array
    {
        return [
            'a leader that has moved' => ['NOT_LEADER_FOR_PARTITION'],
            'by its present name, in lower case' => ['not_leader_or_follower'],
            'a time-out' => ['REQUEST_TIMED_OUT'],
            'a cut connection' => ['_TRANSPORT'],
        ];
    }

    public function testAPermanentProduceErrorIsReportedImmediately(): void
    {
        $this->kafka->failNext('Produce', 'MSG_SIZE_TOO_LARGE');
        $broker = $this->onIt(['produce' => 'sync']);
        try {
            $broker->send($this->orders, 'refused');
            self::fail('accepted');
        } catch (MessageTooLargeException $e) {
            self::assertStringContainsString($this->orders, $e->getMessage());
        }
        $broker->send($this->orders, 'accepted');
        self::assertSame(['accepted'], $this->payloads($this->orders, 1));
    }

    public function testMessagesSentWhileItIsDownArriveWhenItIsUpAgain(): void
    {
        $broker = $this->onIt();
        $broker->send($this->orders, 'before');
        Realtime::flush();
        self::assertSame($this->kafka, $this->kafka->down());
        [$host, $port] = explode(':', $this->kafka->address());
        self::assertFalse(@fsockopen($host, (int) $port, $code, $error, 1.0));
        $broker->send($this->orders, 'meanwhile');
        try {
            Realtime::flush(300);
            self::fail('no listener accepted it');
        } catch (DeliveryException $e) {
            self::assertCount(1, $e->getFailed());
        }
        $this->kafka->up();
        Realtime::flush(10_000);
        self::assertSame(['before', 'meanwhile'], $this->payloads($this->orders, 2));
    }

    public function testAConsumerRecoversAfterItWasDown(): void
    {
        $broker = $this->onIt();
        $broker->send($this->orders, 'one');
        Realtime::flush();
        $seen = [];
        $broker->subscribeTopic($this->orders, static function (Message $m) use (&$seen): void {
            $seen[] = $m->getPayload();
        });
        $broker->consume(200, 10, 1);
        $this->kafka->down();
        $broker->send($this->orders, 'two');
        $broker->onTick(function () use ($broker): void {
            static $ticks = 0;
            if (++$ticks === 3) {
                $this->kafka->up();
            }
            if ($ticks > 200) {
                $broker->stopConsuming();
            }
        }, 100);
        $broker->consume(200, 10, 1);
        self::assertSame(['one', 'two'], $seen);
    }

    public function testNoRecordIsSkippedIfABrokerGoesAwayBetweenFetches(): void
    {
        // In a process of its own: the client that lost a record did not exit either.
        $result = $this->runPhp(<<<'PHP'
            $kafka = EmbeddedBroker::start();
            $kafka->createTopic('orders');
            $broker = new Broker([
                'brokers' => $kafka->address(),
                'consumer_group' => 'g',
                'consumer_config' => ['session.timeout.ms' => 30_000, 'fetch.wait.max.ms' => 10],
            ]);
            $produce = function (int $from, int $to) use ($broker): void {
                foreach (range($from, $to) as $number) {
                    $broker->send('orders', (string) $number);
                }
                Realtime::flush();
            };
            $produce(1, 5);
            $seen = [];
            $broker->subscribeTopic('orders', function (Message $m) use (&$seen, $produce, $kafka): void {
                $seen[] = (int) $m->getPayload();
                if ($seen === [1]) {
                    // In librdkafka's queue by the time this returns: records, the error that no broker listens, records.
                    $produce(6, 10);
                    usleep(300_000);
                    $kafka->down();
                    usleep(700_000);
                    $kafka->up();
                    $produce(11, 20);
                    usleep(1_500_000);
                }
            });
            $until = microtime(true) + 8;
            $broker->onTick(function (Broker $broker) use (&$seen, $until): void {
                if (count($seen) === 20 || microtime(true) > $until) {
                    $broker->stopConsuming();
                }
            }, 50);
            $broker->consume(200, 100);
            echo implode(' ', $seen);
            PHP, ['ini' => ['error_log' => '/dev/null']]);
        self::assertSame(implode(' ', range(1, 20)), $result->stdout);
        $result->assertExit();
    }

    public function testFailedCommitsAreRetried(): void
    {
        $broker = $this->onIt();
        $broker->send($this->orders, 'one');
        Realtime::flush();
        $this->kafka->failNext('OffsetCommit', 'COORDINATOR_LOAD_IN_PROGRESS');
        $broker->subscribeTopic($this->orders, static fn () => null);
        self::assertSame(1, $broker->consume(200, 10, 1));
        $broker->close();
        $broker = $this->onIt();
        $broker->send($this->orders, 'two');
        Realtime::flush();
        $seen = [];
        $broker->subscribeTopic($this->orders, static function (Message $m) use (&$seen): void {
            $seen[] = $m->getPayload();
        });
        $broker->consume(200, 10, 1);
        self::assertSame(['two'], $seen, 'it was committed in the end');
    }

    public function testLatencyIsInjectedAndEnds(): void
    {
        $broker = $this->onIt(['produce' => 'sync']);
        $broker->send($this->orders, 'warm');
        $this->kafka->setLatency(300);
        $start = microtime(true);
        $broker->send($this->orders, 'slow');
        self::assertGreaterThan(0.28, microtime(true) - $start);
        $this->kafka->setLatency(0);
        $start = microtime(true);
        $broker->send($this->orders, 'quick');
        self::assertLessThan(0.28, microtime(true) - $start);
    }

    public function testATopicThatIsRefused(): void
    {
        $secret = $this->topic('secret');
        $this->kafka->createTopic($secret)->failTopic($secret, 'TOPIC_AUTHORIZATION_FAILED');
        $broker = $this->onIt(['produce' => 'sync']);
        try {
            $broker->send($secret, 'refused');
            self::fail('accepted');
        } catch (ConnectionException $e) {
            self::assertStringContainsString($secret, $e->getMessage());
        }
        $this->kafka->failTopic($secret, null);
        $other = $this->onIt(['produce' => 'sync', 'producer_config' => ['linger.ms' => 1]]);
        $other->send($secret, 'allowed');
        self::assertSame(['allowed'], $this->payloads($secret, 1));
    }

    public function testAllFaultsAreCleared(): void
    {
        $this->kafka->failNext('Produce', 'REQUEST_TIMED_OUT', 1000)
            ->failTopic($this->orders, 'UNKNOWN_TOPIC_OR_PART')
            ->setLatency(60_000)
            ->down()
            ->clearFaults();
        $broker = $this->onIt(['produce' => 'sync']);
        $start = microtime(true);
        $broker->send($this->orders, 'well');
        self::assertLessThan(5.0, microtime(true) - $start);
        self::assertSame(['well'], $this->payloads($this->orders, 1));
    }

    /** @dataProvider mistakes */
    #[DataProvider('mistakes')]
    public function testAWrongNameIsReportedWithTheNearestOne(callable $mistake, string $meant): void
    {
        $this->expectException(ConfigurationException::class);
        $this->expectExceptionMessage($meant);
        $mistake($this->kafka);
    }

    /** @return array<string, array{callable, string}> */
    public static function mistakes(): array
    {
        return [
            'request' => [static fn ($k) => $k->failNext('Producee', 'REQUEST_TIMED_OUT'), '"Produce"?'],
            'admin request' => [static fn ($k) => $k->failNext('CreateTopics', '_TRANSPORT'), 'does not implement the request'],
            'error' => [static fn ($k) => $k->failNext('Produce', 'PRODUCER_FENCD'), '"PRODUCER_FENCED"?'],
            'local error' => [static fn ($k) => $k->failNext('Produce', '_TIMED_OUT'), 'setLatency()'],
            'times' => [static fn ($k) => $k->failNext('Produce', '_TRANSPORT', 0), '$times must be from 1'],
            'latency' => [static fn ($k) => $k->setLatency(-1), '$ms must be from 0'],
        ];
    }

    public function testAStoppedBrokerIsReported(): void
    {
        $kafka = EmbeddedBroker::start();
        $kafka->stop();
        $this->expectException(ConnectionException::class);
        $this->expectExceptionMessage('is stopped');
        $kafka->down();
    }

    /** @param array<string, mixed> $config */
    private function onIt(array $config = []): Broker
    {
        return $this->broker(['brokers' => $this->kafka->address()] + $config);
    }

    /** @return list<string|null> */
    private function payloads(string $topic, int $count): array
    {
        $seen = [];
        $broker = $this->onIt(['consumer_group' => "$this->group-reader"]);
        $broker->subscribeTopic($topic, static function (Message $m) use (&$seen): void {
            $seen[] = $m->getPayload();
        });
        $broker->consume(200, 100, 0, true);
        $broker->close();
        self::assertCount($count, $seen);

        return $seen;
    }
}
