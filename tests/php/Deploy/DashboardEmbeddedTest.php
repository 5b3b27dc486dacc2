<?php

/**
 * The dashboard and the alert rules on a real Prometheus that scrapes a busy worker and gateway.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Deploy;

use Symfony\Component\Yaml\Yaml;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Tests\Gateway\RunsGateways;
use Toporia\Realtime\Tests\Support\PusherClient;

final class DashboardEmbeddedTest extends DeployTestCase
{
    use RunsGateways;

    /** The addresses of Prometheus, the worker's metrics and the gateway's operations endpoint. */
    private string $prometheus;
    private string $worker;
    private string $operations;
    /** @var list<PusherClient> */
    private array $browsers = [];

    public static function setUpBeforeClass(): void
    {
        require_once '/usr/share/php/Symfony/Component/Yaml/autoload.php';
    }

    protected function setUp(): void
    {
        parent::setUp();
        $this->worker = '127.0.0.1:' . self::freePort();
        $this->operations = '127.0.0.1:' . self::freePort();
        $sockets = '127.0.0.1:' . self::freePort();
        $this->prometheus = '127.0.0.1:' . self::freePort();
        $this->startWorker($this->worker);
        $this->startGateway($sockets, $this->operations);
        $this->startPrometheus($this->worker, $this->operations);
        for ($i = 0; $i < 2; $i++) {
            $this->browsers[] = $browser = new PusherClient($sockets, $this->settings());
            $browser->subscribe('private-order.1');
        }
    }

    public function testEveryQueryOfTheDashboardAndEveryAlertFindsItsSeries(): void
    {
        // Until there are rates, and the alert without a waiting time fires.
        $this->work(fn (): bool => $this->query('rate(realtime_gateway_frames_sent_total[10s])') !== []
            && $this->query('rate(realtime_consumer_callback_seconds_count[10s]) > 0') !== []
            && $this->query('ALERTS{alertname="RealtimeDeadLetters",alertstate="firing"}') !== []);

        $queries = self::queries();
        self::assertGreaterThan(60, count($queries));
        $empty = [];
        $shown = '';
        foreach ($queries as $title => $query) {
            $found = $this->query($query);
            $found === [] && $empty[] = "$title: $query";
            $shown .= "$title\n  $query\n";
            foreach ($found as $series) {
                $shown .= '    ' . json_encode($series['metric'], JSON_UNESCAPED_SLASHES) . " {$series['value'][1]}\n";
            }
        }
        is_dir(self::root() . '/build/test-output') || mkdir(self::root() . '/build/test-output', 0755, true);
        file_put_contents(self::root() . '/build/test-output/dashboard.txt', $shown);
        self::assertSame([], $empty, 'each panel shows something');

        foreach (['label_values(realtime_consumer_assigned_partitions, group)', 'label_values(realtime_build_info, instance)'] as $list) {
            preg_match('/\((\w+), (\w+)\)/', $list, $of);
            self::assertNotSame([], $this->query("count by ($of[2]) ($of[1]{{$of[2]}!=\"\"})"), $list);
        }

        $known = $this->get('/api/v1/label/__name__/values');
        foreach (Yaml::parseFile(self::root() . '/deploy/prometheus/alerts.yml')['groups'] as $group) {
            foreach ($group['rules'] as $rule) {
                $this->query($rule['expr']);
                preg_match_all('/\b(?:realtime|process)_[a-z_]+\b/', $rule['expr'], $names);
                self::assertSame([], array_values(array_diff($names[0], $known)), "{$rule['alert']}: metrics that no process has");
            }
        }
    }

    public function testTheHealthCheckOfTheImage(): void
    {
        $script = self::root() . '/deploy/docker/healthcheck.sh';
        $asks = fn (string $address): ?int => $this->execute([$script], ['REALTIME_HEALTH_ADDRESS' => $address])->exitCode;
        self::eventually(fn (): bool => $asks($this->worker) === 0, 'the worker is live', 15.0);
        self::assertSame(0, $asks($this->operations), 'so is the gateway');
        self::assertSame(1, $asks('127.0.0.1:' . self::freePort()));

        $file = "$this->app/heartbeat";
        $looks = fn (): ?int => $this->execute([$script], ['REALTIME_HEARTBEAT_FILE' => $file])->exitCode;
        self::assertSame(1, $looks(), 'there is none yet');
        touch($file);
        self::assertSame(0, $looks());
        touch($file, time() - 100);
        self::assertSame(1, $looks(), 'too old');
    }

    /** Sends and receives until the condition holds. */
    private function work(callable $until): void
    {
        $deadline = microtime(true) + 40.0;
        for ($n = 0; !$until(); $n++) {
            self::assertLessThan($deadline, microtime(true), 'There is nothing to see after 40 s: '
                . json_encode($this->get('/api/v1/targets')['activeTargets'] ?? null));
            for ($i = 0; $i < 20; $i++) {
                Realtime::broadcast('order.1', $i === 0 ? 'bad' : 'paid', ['n' => $n]);
            }
            Realtime::flush();
            foreach ($this->browsers as $browser) {
                $browser->rest(0.1);
            }
        }
    }

    /**
     * The queries of all panels, with the dashboard's variables in them.
     *
     * @return array<string, string> panel and letter => query
     */
    private static function queries(): array
    {
        $dashboard = json_decode(self::file('grafana/toporia-realtime.json'), true, 512, JSON_THROW_ON_ERROR);
        $queries = [];
        foreach ($dashboard['panels'] as $panel) {
            foreach ($panel['targets'] ?? [] as $target) {
                $queries["{$panel['id']} {$panel['title']} {$target['refId']}"] = strtr($target['expr'], [
                    '$__rate_interval' => '10s',
                    '$group' => '.*',
                    '$instance' => '.*',
                ]);
            }
        }
        foreach ($queries as $title => $query) {
            self::assertStringNotContainsString('$', $query, "$title: a variable that is not set");
        }

        return $queries;
    }

    private function startWorker(string $metrics): void
    {
        $this->write('vendor/autoload.php', <<<'PHP'
            <?php

            namespace App;

            use Toporia\Realtime\{Message, Realtime};

            final class OrderHandler
            {
                public function handle(Message $message): void
                {
                    if ($message->getEvent() === 'bad') {
                        throw new \RuntimeException('no such order');
                    }
                    Realtime::broadcast('done.1', 'done', $message->getData());
                }
            }
            PHP);
        $this->configure("['brokers' => ['kafka' => ['max_retries' => 1, 'retry_backoff_ms' => 10]]]");
        $this->start([
            $this->php(), 'vendor/bin/toporia-realtime', 'realtime:kafka:consume', '--channels=order.*',
            '--handler=App\OrderHandler', "--metrics=$metrics",
        ], array_filter($this->childEnvironment(), 'is_string') + ['REALTIME_SPOOL' => "$this->app/spool"]);
    }

    private function startGateway(string $sockets, string $operations): void
    {
        [$host, $port] = explode(':', $sockets);
        $gateway = $this->start(
            [$this->php(), 'vendor/bin/toporia-realtime', 'realtime:gateway', "--host=$host", "--port=$port"],
            ['REALTIME_OPS_LISTEN' => $operations] + array_filter($this->childEnvironment(), 'is_string')
        );
        $gateway->waitForOutput('/listens on/', 20.0);
    }

    private function startPrometheus(string $worker, string $gateway): void
    {
        $rules = self::root() . '/deploy/prometheus/alerts.yml';
        $configuration = $this->write('prometheus.yml', self::file('prometheus/prometheus.yml', [
            'scrape_interval: 15s' => 'scrape_interval: 1s',
            'evaluation_interval: 15s' => 'evaluation_interval: 1s',
            '  - alerts.yml' => "  - $rules",
            '"127.0.0.1:9101", "127.0.0.1:9102"' => "\"$worker\"",
            '"127.0.0.1:16001", "127.0.0.1:16002"' => "\"$gateway\"",
        ]));
        $this->start([
            self::program('prometheus'), "--config.file=$configuration", "--storage.tsdb.path=$this->app/tsdb",
            "--web.listen-address=$this->prometheus", '--log.level=error',
        ]);
        self::eventually(
            fn (): bool => @file_get_contents("http://$this->prometheus/-/ready") !== false,
            'Prometheus is ready',
            20.0
        );
    }

    /**
     * The result of an instant query, without NaN values.
     *
     * @return list<array{metric: array<string, string>, value: array{float, string}}>
     */
    private function query(string $query): array
    {
        $found = $this->get('/api/v1/query?query=' . rawurlencode($query))['result'];

        return array_values(array_filter($found, static fn (array $series): bool => $series['value'][1] !== 'NaN'));
    }

    /** @return array<mixed> `data` of an answer of Prometheus; a refused query fails the test */
    private function get(string $path): array
    {
        $context = stream_context_create(['http' => ['ignore_errors' => true, 'timeout' => 10]]);
        $answer = json_decode((string) file_get_contents("http://$this->prometheus$path", false, $context), true);
        self::assertSame('success', $answer['status'] ?? null, rawurldecode($path) . ': ' . ($answer['error'] ?? 'no answer'));

        return $answer['data'];
    }
}
