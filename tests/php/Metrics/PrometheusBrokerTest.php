<?php

/**
 * The real Prometheus scrapes a worker and a gateway, and is queried through its HTTP API.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Metrics;

use Toporia\Realtime\Tests\Gateway\RunsGateways;
use Toporia\Realtime\Tests\Support\ChildProcess;

final class PrometheusBrokerTest extends MetricsTestCase
{
    use RunsGateways;

    private ?ChildProcess $prometheus = null;
    private string $address = '';

    protected function tearDown(): void
    {
        $this->prometheus?->destroy();
        parent::tearDown();
    }

    public function testItReadsAWorkerAndAGateway(): void
    {
        $this->handler('if ($message->getData() === 3) { throw new \RuntimeException("no"); } usleep(2000);');
        $this->send('user.1', 10);
        [, $worker] = $this->worker(['--channels=user.1', '--handler=Handler']);
        $child = $this->startConsole(
            ['realtime:gateway', '--metrics=127.0.0.1:0', '--json', '--drain=0'],
            ['cwd' => $this->directory]
        );
        $gateway = $child->waitForOutput('/"metrics".*"address":"(127\.0\.0\.1:\d+)"/', 30)[1];
        $sockets = $child->waitForOutput('/"type":"gateway".*?"address":"(127\.0\.0\.1:\d+)"/', 30)[1];
        $client = $this->client($sockets);
        $client->subscribe('public.1');
        $this->begin(['worker' => $worker, 'gateway' => $gateway]);

        $group = '{group="' . $this->group . '"}';
        foreach (
            [
                'up{job="worker"}' => 1.0,
                'up{job="gateway"}' => 1.0,
                "realtime_consumer_handled_total$group" => 10.0,
                "realtime_consumer_failures_total$group" => 2.0,
                "realtime_consumer_dead_lettered_total$group" => 1.0,
                "sum by (group) (realtime_consumer_lag$group)" => 0.0,
                "realtime_consumer_callback_seconds_count$group" => 11.0,
                'realtime_gateway_connections{job="gateway"}' => 1.0,
                'realtime_gateway_subscriptions{job="gateway"}' => 1.0,
                'realtime_process_live{job="worker"}' => 1.0,
                'count(realtime_build_info)' => 2.0,
            ] as $query => $value
        ) {
            self::within(fn () => $this->query($query) === $value, "$query is $value", 40);
        }
        $slow = $this->query("histogram_quantile(0.5, realtime_consumer_callback_seconds_bucket$group)");
        self::assertGreaterThan(0.001, $slow);
        self::assertLessThan(0.1, $slow);
        self::assertSame(1.0, $this->query("realtime_consumer_callback_seconds_bucket{le=\"30.0\"} >= bool 11"));
        // Prometheus has read the type and help of each metric.
        $known = $this->api('metadata?metric=realtime_consumer_callback_seconds');
        self::assertSame('histogram', $known['realtime_consumer_callback_seconds'][0]['type'] ?? null);
        $known = $this->api('metadata?metric=realtime_gateway_frames_sent');
        self::assertSame('counter', $known['realtime_gateway_frames_sent'][0]['type'] ?? null);
    }

    /**
     * @param array<string, string> $jobs name and address
     */
    private function begin(array $jobs): void
    {
        $config = "global: {scrape_interval: 500ms, scrape_timeout: 500ms}\nscrape_configs:\n";
        foreach ($jobs as $job => $address) {
            $config .= "  - {job_name: $job, static_configs: [{targets: ['$address']}]}\n";
        }
        file_put_contents("$this->directory/prometheus.yml", $config);
        $socket = stream_socket_server('tcp://127.0.0.1:0');
        self::assertIsResource($socket);
        $this->address = (string) stream_socket_get_name($socket, false);
        fclose($socket);
        $this->prometheus = new ChildProcess([
            'prometheus', "--config.file=$this->directory/prometheus.yml", "--storage.tsdb.path=$this->directory/tsdb",
            "--web.listen-address=$this->address", '--log.level=error',
        ], getenv());
        self::within(
            fn () => @file_get_contents("http://$this->address/-/ready") !== false,
            'Prometheus is ready',
            60
        );
    }

    private function query(string $query): ?float
    {
        $result = $this->api('query?query=' . rawurlencode($query))['result'];

        return isset($result[0]) ? (float) $result[0]['value'][1] : null;
    }

    /** @return array<string, mixed> */
    private function api(string $path): array
    {
        $answer = json_decode((string) file_get_contents("http://$this->address/api/v1/$path"), true);
        self::assertSame('success', $answer['status'] ?? null, $path);

        return $answer['data'];
    }
}
