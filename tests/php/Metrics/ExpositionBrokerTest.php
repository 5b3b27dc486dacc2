<?php

/**
 * The metrics of a worker and a gateway: each is described, with the right value after a known workload.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Metrics;

use Toporia\Realtime\Metrics;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Tests\Gateway\RunsGateways;

final class ExpositionBrokerTest extends MetricsTestCase
{
    use RunsGateways;

    /**
     * 30 messages: 3 fail once, 2 fail permanently and are dead-lettered.
     */
    public function testTheValuesAfterAKnownWorkload(): void
    {
        $this->handler(
            'static $seen = []; $n = $message->getData(); $seen[$n] = ($seen[$n] ?? 0) + 1;'
            . 'if ($n >= 28) { throw new \RuntimeException("always"); }'
            . 'if ($n % 10 === 0 && $seen[$n] === 1) { throw new \RuntimeException("once"); }'
        );
        $this->send('user.1', 30);
        [$worker, $address] = $this->worker(['--channels=user.1', '--handler=Handler', '--websocket']);
        $group = ['group' => $this->group];
        $scrape = self::within(static function () use ($address, $group): ?Scrape {
            $scrape = self::scrape($address);
            $done = $scrape->value('realtime_consumer_handled_total', $group) === 30.0
                && $scrape->value('realtime_consumer_commits_total', $group) > 0
                && $scrape->value('realtime_consumer_commit_age_seconds', $group) === 0.0
                && array_sum($scrape->all('realtime_consumer_lag')) === 0.0
                && $scrape->all('realtime_consumer_lag') !== [];

            return $done ? $scrape : null;
        }, 'everything handled and committed');

        foreach (
            [
                'messages' => 30, 'handled' => 30, 'failures' => 3 + 2 * 2, 'retries' => 3 + 2, 'dead_lettered' => 2,
                'skipped' => 0, 'topic_mismatch' => 0, 'dropped' => 0, 'commit_failures' => 0, 'transactions' => 0,
            ] as $name => $value
        ) {
            self::assertSame((float) $value, $scrape->value("realtime_consumer_{$name}_total", $group), $name);
        }
        self::assertGreaterThan(30 * 50, $scrape->value('realtime_consumer_bytes_total', $group));
        self::assertSame(0.0, $scrape->value('realtime_consumer_parked', $group));
        self::assertSame(1.0, $scrape->value('realtime_consumer_connected', $group));
        self::assertGreaterThan(0, $scrape->value('realtime_consumer_assigned_partitions', $group));
        self::assertLessThan(5, $scrape->value('realtime_consumer_poll_age_seconds', $group));
        self::assertSame(0.0, $scrape->value('realtime_consumer_callback_age_seconds', $group));
        // Every attempt is a callback: 25 successful ones, 3 with two attempts, 2 with two attempts.
        self::assertSame(35.0, $scrape->value('realtime_consumer_callback_seconds_count', $group));
        self::assertSame(35.0, $scrape->value('realtime_consumer_callback_seconds_bucket', $group + ['le' => '+Inf']));
        self::assertSame(30.0, $scrape->value('realtime_consumer_batch_messages_sum', $group));
        self::assertSame(2.0, $scrape->value('realtime_producer_messages_total'), 'the dead letters');
        self::assertSame(2.0, $scrape->value('realtime_producer_delivered_total'));
        self::assertSame(0.0, $scrape->value('realtime_producer_queue_messages'));
        self::assertSame(1.0, $scrape->value('realtime_producer_broker_reachable'));
        self::assertSame(1.0, $scrape->value('realtime_process_live'));
        self::assertEqualsWithDelta(time(), $scrape->value('process_start_time_seconds'), 60);
        self::assertGreaterThan(5e6, $scrape->value('process_resident_memory_bytes'));

        $this->everyMetricIsThere($scrape);
        self::assertSame('', self::promtool($scrape->text), 'promtool check metrics');
        self::assertStringEndsWith("# EOF\n", self::get($address, '/metrics', "Accept: application/openmetrics-text\r\n"));
        $worker->signal()->wait()->assertExit();
    }

    /**
     * docs/monitoring.md lists exactly the metrics that a process shows, with their help texts.
     */
    private function everyMetricIsThere(Scrape $scrape): void
    {
        foreach ($scrape->families as $name => ['type' => $type, 'help' => $help]) {
            self::assertNotSame('', $type, $name);
            self::assertMatchesRegularExpression('/^[A-Z0-9].+\.$/', $help, $name);
        }
        $shown = array_map(static fn (array $family) => "$family[type]: $family[help]", $scrape->families);
        ksort($shown);
        $documented = self::documented();
        // Only in the text file, which covers several processes.
        self::assertArrayHasKey('realtime_processes', $documented);
        unset($documented['realtime_processes']);
        self::assertSame($documented, $shown);
    }

    /** @return array<string, string> type and help by name */
    private static function documented(): array
    {
        $page = (string) file_get_contents(self::root() . '/docs/monitoring.md');
        preg_match_all(
            '/^- `([a-z_]+)` \((counter|gauge|histogram)[^)]*\): (.+?)(?=\n- |\n\n|\Z)/ms',
            $page,
            $rows,
            PREG_SET_ORDER
        );
        $table = [];
        foreach ($rows as [, $name, $type, $help]) {
            $table[$name] = "$type: " . preg_replace('/\s+/', ' ', trim($help));
        }
        ksort($table);

        return $table;
    }

    public function testMessagesOfThisProcessAreCounted(): void
    {
        $before = new Scrape(Metrics::text());
        $this->send('user.1', 7);
        $after = new Scrape(Metrics::text());
        foreach (['messages', 'delivered'] as $name) {
            $name = "realtime_producer_{$name}_total";
            self::assertSame(7.0, $after->value($name) - $before->value($name), $name);
        }
        self::assertGreaterThanOrEqual(1, $after->value('realtime_producer_clients'));
        self::assertSame('', self::promtool(Metrics::text()));
        self::assertStringEndsWith("# EOF\n", Metrics::text(true));
        $info = $after->all('realtime_build_info');
        self::assertCount(1, $info);
        self::assertStringContainsString('php="' . PHP_VERSION . '"', (string) key($info));
    }

    /**
     * No label contains user input, and the labels from Kafka are bounded.
     */
    public function testChannelsAreNotLabels(): void
    {
        for ($n = 0; $n < 50; $n++) {
            Realtime::broadcast("secret-room.$n", 'e', $n);
        }
        Realtime::flush();
        $gateway = $this->gateway(['ops_listen' => 'off']);
        $client = $this->client($gateway);
        $client->subscribe('public.1');
        $text = Metrics::text();
        self::assertStringNotContainsString('secret-room', $text);
        self::assertStringNotContainsString('public.1', $text);
        $names = [];
        foreach (array_keys((new Scrape($text))->samples) as $series) {
            preg_match_all('/([a-z_]+)="/', $series, $match);
            $names = array_merge($names, $match[1]);
        }
        self::assertSame([], array_diff(
            array_unique($names),
            ['group', 'topic', 'partition', 'kind', 'le', 'version', 'php', 'librdkafka']
        ));
    }

    public function testTheGatewaysOwnPortShowsTheSame(): void
    {
        $port = self::freePort();
        $this->gateway(['ops_listen' => "127.0.0.1:$port"]);
        $address = "127.0.0.1:$port";
        $scrape = self::scrape($address);
        self::assertSame(0.0, $scrape->value('realtime_gateway_connections'));
        self::assertNotNull($scrape->value('realtime_producer_messages_total'));
        self::assertSame('', self::promtool($scrape->text));
        self::assertSame("live\n", self::get($address, '/live'));
        self::within(
            static fn () => self::ask($address, "GET /ready HTTP/1.1\r\nHost: a\r\n\r\n")[0] === 200,
            'the gateway is ready'
        );
    }
}
