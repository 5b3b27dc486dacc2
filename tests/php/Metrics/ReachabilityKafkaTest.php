<?php

/**
 * A broker that is killed, stops responding or comes back: metrics, stats(), readiness and the command say so in time.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Metrics;

use Toporia\Realtime\Realtime;
use Toporia\Realtime\Tests\Gateway\RunsGateways;
use Toporia\Realtime\Tests\Support\KafkaNode;

final class ReachabilityKafkaTest extends MetricsTestCase
{
    use FiresAlerts;
    use RunsGateways;

    /** A broker counts as reachable for 25 s after its last response. */
    private const HEARD_WITHIN_SECONDS = 25.0;

    private KafkaNode $node;

    protected function setUp(): void
    {
        parent::setUp();
        $this->node = KafkaNode::start();
        KafkaNode::createTopic($this->node->address, $this->channelTopic('user.1'));
        Realtime::configure([
            'default_broker' => 'kafka',
            'brokers' => ['kafka' => $this->config(['brokers' => $this->node->address])],
        ]);
    }

    protected function tearDown(): void
    {
        $this->endChildren();
        Realtime::configure([]);
        $this->node->stop();
        parent::tearDown();
    }

    public function testAWorkerAndAGatewayReportAKilledBrokerAndItsReturn(): void
    {
        [$worker, $address] = $this->workerThatSends('Realtime::broadcast("user.2", "e");');
        $gateway = $this->startConsole(
            ['realtime:gateway', '--metrics=127.0.0.1:0', '--json', '--drain=0'],
            ['cwd' => $this->directory, 'env' => ['KAFKA_BROKERS' => $this->node->address]]
        );
        $ops = $gateway->waitForOutput('/"metrics".*"address":"(127\.0\.0\.1:\d+)"/', 30)[1];
        $this->waitFor($address, $ops, 1.0, 40);
        $before = [self::scrape($address), self::scrape($ops)];

        $this->node->kill();
        $this->waitFor($address, $ops, 0.0, 15);
        $alerts = ['RealtimeConsumerDisconnected', 'RealtimeBrokerUnreachable'];
        $this->assertFires($alerts, $before[0], self::scrape($address), 1.0, 'realtime-consume');
        $this->assertFires(['RealtimeGatewayNotReady'], $before[1], self::scrape($ops), 1.0, 'realtime-gateway');
        self::assertSame(503, self::ask($address, "GET /ready HTTP/1.1\r\nHost: a\r\n\r\n")[0]);
        $worker->waitForOutput('/"type":"disconnected"/');
        $this->node->restart();
        $this->waitFor($address, $ops, 1.0, 40);
        $worker->waitForOutput('/"type":"connected"/');
        $worker->signal()->wait(30)->assertExit();
    }

    public function testABrokerThatStopsRespondingAlsoDuringALongCallback(): void
    {
        [$worker, $address] = $this->workerThatSends(
            'Realtime::broadcast("user.2", "e"); Realtime::flush(); touch("begun");'
            . 'while (!is_file("go")) { usleep(50_000); clearstatcache(); }'
        );
        self::within(fn () => is_file("$this->directory/begun"), 'the callback runs', 40);
        $group = ['group' => $this->group];
        // Idle for longer than a response counts: the clients send requests by themselves.
        for ($n = 0; $n < self::HEARD_WITHIN_SECONDS + 5; $n++) {
            $scrape = self::scrape($address);
            self::assertSame(1.0, $scrape->value('realtime_consumer_connected', $group), "after $n s");
            self::assertSame(1.0, $scrape->value('realtime_producer_broker_reachable'), "after $n s");
            sleep(1);
        }
        $this->node->pause();
        self::within(static function () use ($address, $group): bool {
            $scrape = self::scrape($address);

            return $scrape->value('realtime_consumer_connected', $group) === 0.0
                && $scrape->value('realtime_producer_broker_reachable') === 0.0;
        }, 'both report the silent broker', self::HEARD_WITHIN_SECONDS + 5);
        $this->node->continue();
        self::within(
            static fn () => self::scrape($address)->value('realtime_producer_broker_reachable') === 1.0,
            'the producer receives its responses again'
        );
        touch("$this->directory/go");
        $worker->signal()->wait(30)->assertExit();
    }

    public function testTheEndOfAProcessDoesNotWaitForADeadBroker(): void
    {
        $code = <<<'PHP'
            Realtime::broadcast('user.1', 'e');
            Realtime::flush();
            echo json_encode(Realtime::stats()['broker_reachable']), "\n";
            fgets(STDIN);
            $until = microtime(true) + 15;
            while (Realtime::stats()['broker_reachable'] && microtime(true) < $until) {
                usleep(50_000);
            }
            echo 'now ', json_encode(Realtime::stats()['broker_reachable']), "\n";
            Realtime::broadcast('user.1', 'e');
            register_shutdown_function(static function (): void {
                printf("ends at %.3f\n", microtime(true));
            });
            PHP;
        $go = "$this->directory/go";
        $code = str_replace('fgets(STDIN);', 'while (!file_exists($argv[1])) { usleep(20_000); clearstatcache(); }', $code);
        $child = $this->startPhp($code, ['env' => ['KAFKA_BROKERS' => $this->node->address], 'args' => [$go]]);
        $child->waitForOutput('/^true$/m', 40);
        $this->node->kill();
        touch($go);
        $child->waitForOutput('/^now false$/m', 20);
        $ends = (float) $child->waitForOutput('/^ends at ([\d.]+)$/m', 20)[1];
        $child->wait(20);
        self::assertLessThan(4.0, microtime(true) - $ends, 'two seconds and the time of a busy machine');
    }

    /**
     * @return array{\Toporia\Realtime\Tests\Support\ChildProcess, string}
     */
    private function workerThatSends(string $code): array
    {
        $this->handler(str_replace('Realtime::', '\Toporia\Realtime\Realtime::', $code));
        $this->send('user.1', 1);

        return $this->worker(
            ['--channels=user.1', '--handler=Handler'],
            ['env' => ['KAFKA_BROKERS' => $this->node->address]]
        );
    }

    private function waitFor(string $worker, string $gateway, float $value, float $seconds): void
    {
        $seen = [];
        $look = function () use ($worker, $gateway, $value, &$seen): bool {
            $scrape = self::scrape($worker);
            $seen = [
                $scrape->value('realtime_consumer_connected', ['group' => $this->group]),
                $scrape->value('realtime_producer_broker_reachable'),
                self::scrape($gateway)->value('realtime_gateway_ready'),
            ];

            return $seen === [$value, $value, $value] && $scrape->value('realtime_producer_clients') === 1.0;
        };
        $end = microtime(true) + $seconds;
        while (!$look()) {
            self::assertLessThan($end, microtime(true), "consumer, producer, gateway: " . json_encode($seen));
            usleep(200_000);
        }
    }
}
