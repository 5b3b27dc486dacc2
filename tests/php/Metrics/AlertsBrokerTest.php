<?php

/**
 * The alerts fire on the metrics of processes in which their cause is real.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Metrics;

use Closure;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Tests\Gateway\RunsGateways;

final class AlertsBrokerTest extends MetricsTestCase
{
    use FiresAlerts;
    use RunsGateways;

    private const CONSUME = ['--channels=user.1', '--handler=Handler'];

    protected function setUp(): void
    {
        parent::setUp();
        $this->createTopic($this->channelTopic('user.1'));
    }

    public function testCallbacksThatAreSlowOrDoNotReturn(): void
    {
        $this->handler('if ($message->getData() > 2) { touch("begun"); sleep(60); } usleep(1_600_000);');
        [, $address] = $this->worker(self::CONSUME, ['env' => ['REALTIME_LIVENESS_TIMEOUT_MS' => '1000']]);
        $before = $this->consuming($address);
        $this->send('user.1', 4);
        self::within(fn () => is_file("$this->directory/begun"), 'the callback that does not return', 40);
        self::within(
            static fn () => self::scrape($address)->value('realtime_process_live') === 0.0,
            'the process is not live'
        );
        $after = self::scrape($address);
        $this->assertFires(
            ['RealtimeConsumerStuck', 'RealtimeCallbackSlow', 'RealtimeCallbacksSlower', 'RealtimeProcessNotLive'],
            $before,
            $after,
            5.0,
            'realtime-consume'
        );
        $this->assertFires(['RealtimeTargetDown', 'RealtimeNoConsumer'], $before, null, 1.0, 'realtime-consume');
    }

    public function testMessagesThatFail(): void
    {
        $this->handler('throw new \RuntimeException("no");');
        [, $address] = $this->worker(self::CONSUME);
        $before = $this->consuming($address);
        $this->send('user.1', 5);
        $this->until($address, 'realtime_consumer_dead_lettered_total', 5);
        $this->assertFires(
            ['RealtimeDeadLetters', 'RealtimeErrorRate'],
            $before,
            self::scrape($address),
            1.0,
            'realtime-consume'
        );
    }

    public function testRetriesThatPileUp(): void
    {
        mkdir("$this->directory/config");
        file_put_contents("$this->directory/config/realtime.php", '<?php final class Handler {'
            . 'public function handle(\Toporia\Realtime\Message $message): void {'
            . ' if ($message->getData() > 0) { throw new \RuntimeException("no"); } } }'
            . 'return ["max_retries" => 9, "retry_backoff_ms" => 60000, "retry_backoff_max_ms" => 60000];');
        [, $address] = $this->worker(self::CONSUME);
        $this->consuming($address);
        $this->send('user.1', 1);
        $this->until($address, 'realtime_consumer_handled_total', 1);
        $before = self::scrape($address);
        $this->send('user.1', 650);
        $this->until($address, 'realtime_consumer_parked', 501);
        $this->assertFires(['RealtimeRetriesPileUp'], $before, self::scrape($address), 1.0, 'realtime-consume');
        // A message that waits holds back the offset of a handled one with another key.
        $envelope = ['id' => 'x', 'channel' => 'user.1', 'event' => 'e', 'data' => 0, 'timestamp' => time() * 1000];
        $this->broker()->send($this->channelTopic('user.1'), (string) json_encode($envelope), 'other');
        Realtime::flush();
        $this->until($address, 'realtime_consumer_handled_total', 2);
        sleep(2);
        $second = self::scrape($address);
        self::assertGreaterThan(0.5, $second->value('realtime_consumer_commit_age_seconds', ['group' => $this->group]));
        $this->assertFires(['RealtimeNotCommitting'], $before, $second, 2.0, 'realtime-consume');
    }

    public function testWorkersThatJoinAgainAndAgain(): void
    {
        $this->handler('');
        [, $address] = $this->worker(self::CONSUME);
        $before = $this->consuming($address);
        $group = ['group' => $this->group];
        $rebalances = (float) $before->value('realtime_consumer_rebalances_total', $group);
        [$second] = $this->worker(self::CONSUME);
        $this->until($address, 'realtime_consumer_rebalances_total', $rebalances + 1);
        $second->signal()->wait(30);
        $this->assertFires(['RealtimeRebalancing'], $before, self::scrape($address), 1.0, 'realtime-consume');
    }

    public function testTransactionsThatAreAborted(): void
    {
        $this->handler('throw new \RuntimeException("no");');
        $this->configure('"delivery" => "exactly-once"');
        [, $address] = $this->worker(self::CONSUME);
        $before = $this->consuming($address);
        $this->send('user.1', 2);
        $this->until($address, 'realtime_consumer_transactions_aborted_total', 1);
        $this->assertFires(['RealtimeTransactionsAborted'], $before, self::scrape($address), 1.0, 'realtime-consume');
    }

    public function testMessagesThatAreDropped(): void
    {
        $this->handler('throw new \RuntimeException("no");');
        $this->configure('"delivery" => "at-most-once", "circuit_failures" => 0');
        [, $address] = $this->worker(self::CONSUME);
        $before = $this->consuming($address);
        $this->send('user.1', 3);
        $this->until($address, 'realtime_consumer_dropped_total', 3);
        $this->assertFires(['RealtimeMessagesDropped'], $before, self::scrape($address), 1.0, 'realtime-consume');
    }

    public function testAProcessThatEndsAgainAndAgain(): void
    {
        $this->handler('');
        $starts = [];
        for ($n = 0; $n < 5; $n++) {
            [$child, $address] = $this->worker(self::CONSUME);
            $starts[] = (float) self::scrape($address)->value('process_start_time_seconds');
            $child->signal(9)->wait(30);
        }
        self::assertSame($starts, array_unique($starts), 'each start has a time of its own');
        $name = 'process_start_time_seconds{job="realtime-consume",instance="a:9101"}';
        $series = [['series' => $name, 'values' => "{$starts[0]}x20 " . implode(' ', $starts) . " {$starts[4]}x20"]];
        self::assertStringContainsString('SUCCESS', $this->evaluate($series, 'RealtimeRestartLoop', ['10m', '20m']));
        self::assertStringContainsString('got:[', $this->evaluate($series, 'RealtimeRestartLoop', ['27m']));
    }

    public function testAGatewayThatLosesConnectionsAndReadsForgedRecords(): void
    {
        $child = $this->startConsole(
            ['realtime:gateway', '--metrics=127.0.0.1:0', '--json', '--drain=0'],
            ['cwd' => $this->directory]
        );
        $address = $child->waitForOutput('/"metrics".*"address":"(127\.0\.0\.1:\d+)"/', 30)[1];
        $sockets = $child->waitForOutput('/"type":"gateway".*?"address":"(127\.0\.0\.1:\d+)"/', 30)[1];
        $isReady = static fn (Scrape $scrape): bool => $scrape->value('realtime_gateway_ready') === 1.0;
        $this->seen($address, $isReady, 'the gateway is ready');
        $clients = [];
        for ($n = 0; $n < 120; $n++) {
            $clients[] = $this->client($sockets);
        }
        $before = self::scrape($address);
        self::assertSame(120.0, $before->value('realtime_gateway_connections'));
        $clients = [];
        $forged = ['id' => 'x', 'channel' => 'presence-a', 'event' => 'e', 'data' => 1, 'timestamp' => time() * 1000];
        $this->broker()->send("$this->prefix.__presence", (string) json_encode($forged));
        Realtime::flush();
        $after = $this->seen(
            $address,
            static fn (Scrape $scrape): bool => $scrape->value('realtime_gateway_connections') === 0.0
                && $scrape->value('realtime_gateway_forged_control_total') > 0,
            'connections are lost, and a forged record is counted'
        );
        $this->assertFires(
            ['RealtimeGatewayConnectionsLost', 'RealtimeGatewayForgedControl'],
            $before,
            $after,
            1.0,
            'realtime-gateway'
        );
    }

    public function testALagThatGrows(): void
    {
        $this->handler('usleep($message->getData() > 0 ? 3_000_000 : 1);');
        [, $address] = $this->worker([...self::CONSUME, '--batch-size=1']);
        $before = $this->consuming($address);
        $this->send('user.1', 3000);
        $lag = static fn (): float => array_sum(self::scrape($address)->all('realtime_consumer_lag'));
        // The lag is reported between two callbacks: the second one blocks the report.
        self::within(static fn (): bool => $lag() > 1000, 'the lag is reported', 60);
        $this->assertFires(
            ['RealtimeLagGrowing', 'RealtimeFarBehind'],
            $before,
            self::scrape($address),
            5.0,
            'realtime-consume'
        );
    }

    public function testRecordsOnAnotherTopicThanTheirChannel(): void
    {
        $this->handler('');
        [, $address] = $this->worker(self::CONSUME);
        $before = $this->consuming($address);
        $broker = $this->broker();
        $envelope = ['id' => 'x', 'channel' => 'user.7', 'event' => 'e', 'data' => 1, 'timestamp' => time() * 1000];
        $broker->send($this->channelTopic('user.1'), (string) json_encode($envelope));
        Realtime::flush();
        $this->until($address, 'realtime_consumer_topic_mismatch_total', 1);
        $this->assertFires(['RealtimeTopicMismatch'], $before, self::scrape($address), 1.0, 'realtime-consume');
    }

    public function testMessagesThatKafkaDoesNotAccept(): void
    {
        $spool = "$this->directory/spool";
        $script = <<<'PHP'
            use Toporia\Realtime\Metrics;
            $producer = ['message.timeout.ms' => 1000, 'queue.buffering.max.messages' => 5];
            Realtime::configure(['producer_config' => $producer, 'queue_full_ms' => 1, 'spool' => $argv[1] ?: false]);
            echo Metrics::serve('127.0.0.1:0'), "\n";
            fgets(STDIN);
            for ($n = 0; $n < 10; $n++) {
                try {
                    Realtime::broadcast('user.1', 'e');
                } catch (\Throwable) {
                    echo "full\n";
                }
            }
            sleep(60);
            PHP;
        $script = str_replace(
            'fgets(STDIN);',
            'while (!is_file($argv[2])) { usleep(20_000); clearstatcache(); }',
            $script
        );
        $cases = ['' => ['RealtimeDeliveryFailures', 'RealtimeProducerQueueFull'], $spool => ['RealtimeSpoolNotEmpty']];
        foreach ($cases as $to => $alerts) {
            $go = "$this->directory/go" . strlen((string) $to);
            $options = ['args' => [(string) $to, $go], 'env' => ['KAFKA_BROKERS' => '127.0.0.1:1']];
            $child = $this->startPhp($script, $options);
            $address = $child->waitForOutput('/^(127[\d.:]+)$/m', 30)[1];
            $before = self::scrape($address);
            touch($go);
            $name = $to === '' ? 'realtime_producer_delivery_failures_total' : 'realtime_spool_messages';
            self::within(static fn (): bool => array_sum(self::scrape($address)->all($name)) > 0, $name, 40);
            $after = self::scrape($address);
            $this->assertFires([...$alerts, 'RealtimeBrokerUnreachable'], $before, $after, 1.0, 'realtime-textfile');
            $child->signal(9);
        }
    }

    /** Adds settings to the application of handler(). */
    private function configure(string $settings): void
    {
        $file = "$this->directory/config/realtime.php";
        $code = (string) file_get_contents($file);
        file_put_contents($file, str_replace('return [', "return [$settings, ", $code));
    }

    private function consuming(string $address): Scrape
    {
        $group = ['group' => $this->group];
        $assigned = fn (Scrape $scrape): bool =>
            $scrape->value('realtime_consumer_assigned_partitions', $group) > 0;

        return $this->seen($address, $assigned, 'the worker has partitions');
    }

    private function until(string $address, string $name, float $least): void
    {
        $this->seen(
            $address,
            fn (Scrape $scrape): bool => $scrape->value($name, ['group' => $this->group]) >= $least,
            "$name is at least $least"
        );
    }

    /** @param Closure(Scrape): bool $condition */
    private function seen(string $address, Closure $condition, string $what): Scrape
    {
        return self::within(static function () use ($address, $condition): ?Scrape {
            $scrape = self::scrape($address);

            return $condition($scrape) ? $scrape : null;
        }, $what, 60);
    }
}
