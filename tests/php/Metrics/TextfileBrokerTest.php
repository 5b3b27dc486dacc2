<?php

/**
 * Metrics of processes that cannot be scraped: several in one file for the node exporter, ended ones included.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Metrics;

use Toporia\Realtime\Tests\Producing\FpmServer;

final class TextfileBrokerTest extends MetricsTestCase
{
    private const SENT = 'realtime_producer_messages_total';

    private ?FpmServer $server = null;
    private bool $mounted = false;

    protected function tearDown(): void
    {
        $this->server?->stop();
        if ($this->mounted) {
            exec('umount ' . escapeshellarg("$this->directory/small"));
        }
        parent::tearDown();
    }

    public function testConcurrentShortProcessesAreSummed(): void
    {
        $children = [];
        for ($n = 1; $n <= 8; $n++) {
            $children[] = $this->startPhp(
                "for (\$n = 0; \$n < $n; \$n++) { Realtime::broadcast('user.1', 'e', \$n); }",
                $this->writing()
            );
        }
        foreach ($children as $child) {
            $child->wait(40)->assertExit();
        }
        // A process that could not get the lock in time has left its values to the next one.
        $this->runPhp('Realtime::broadcast("user.1", "e", 0);', $this->writing())->assertExit();
        $scrape = $this->shown();
        self::assertSame(37.0, $scrape->value(self::SENT));
        self::assertSame(37.0, $scrape->value('realtime_producer_delivered_total'));
        self::assertNull($scrape->value('process_resident_memory_bytes'), 'the node exporter has its own');
        self::assertSame(0.0, $scrape->value('realtime_processes'));
        self::assertSame('', self::promtool($scrape->text));
        self::assertSame(['.', '..', '.realtime', 'realtime.prom'], scandir("$this->directory/prom"));
        self::assertEqualsCanonicalizing(['.', '..', 'ended.json', 'lock'], scandir("$this->directory/prom/.realtime"));
        // A process that does not use the extension writes nothing.
        $before = filemtime("$this->directory/prom/realtime.prom");
        $this->runPhp('Message::event(null, "e");', $this->writing())->assertExit();
        clearstatcache();
        self::assertSame($before, filemtime("$this->directory/prom/realtime.prom"));
    }

    public function testAKilledProcessStillCounts(): void
    {
        $this->handler('touch("handled");');
        $this->send('user.1', 3);
        $worker = $this->startConsole(
            ['realtime:kafka:consume', '--channels=user.1', '--handler=Handler'],
            ['cwd' => $this->directory] + $this->writing()
        );
        $group = ['group' => $this->group];
        self::within(
            fn () => is_file("$this->directory/prom/realtime.prom")
                && $this->shown()->value('realtime_consumer_handled_total', $group) === 3.0,
            'a worker that runs on writes as well',
            40
        );
        self::assertSame(1.0, $this->shown()->value('realtime_processes'));
        $worker->signal(9)->wait();
        $this->runPhp('Realtime::broadcast("user.1", "e", 0);', $this->writing())->assertExit();
        $scrape = $this->shown();
        self::assertSame(3.0, $scrape->value('realtime_consumer_handled_total', $group));
        self::assertSame(1.0, $scrape->value(self::SENT));
        self::assertSame(0.0, $scrape->value('realtime_processes'));
        self::assertNull($scrape->value('realtime_consumer_assigned_partitions', $group), 'it has none any more');
    }

    public function testFpm(): void
    {
        $code = 'Realtime::broadcast("web", "e", 1); echo getmypid();';
        @mkdir("$this->directory/prom", 0777);
        chmod("$this->directory/prom", 0777);
        $extension = getenv('REALTIME_EXTENSION') ?: self::root() . '/target/release/libtoporia_realtime.so';
        $environment = array_filter($this->writing()['env'] + $this->childEnvironment());
        $this->server = new FpmServer($this->directory, $extension, $code, $environment);
        $workers = [];
        for ($n = 0; $n < 20; $n++) {
            $workers[$this->server->request()[0] ?? ''] = true;
        }
        // Each worker writes once a second: a request after that includes the values of the requests before it.
        usleep(1_100_000);
        for ($n = 0; $n < 6; $n++) {
            $workers[$this->server->request()[0] ?? ''] = true;
            usleep(600_000);
        }
        $scrape = $this->shown();
        self::assertGreaterThanOrEqual(20, $scrape->value(self::SENT));
        self::assertLessThanOrEqual(26, $scrape->value(self::SENT));
        self::assertSame((float) count($workers), $scrape->value('realtime_processes'));
        self::assertSame('', self::promtool($scrape->text));
        self::assertStringNotContainsString('metrics', $this->server->log());
        // The workers are killed, and their last values still count.
        $this->server->stop();
        $this->runPhp('Realtime::broadcast("user.1", "e", 0);', $this->writing())->assertExit();
        $after = $this->shown();
        self::assertGreaterThanOrEqual(21, $after->value(self::SENT));
        self::assertSame(0.0, $after->value('realtime_processes'));
    }

    /**
     * A full disk only causes a warning.
     */
    public function testAFullDiskOnlyCausesAWarning(): void
    {
        $small = "$this->directory/small";
        mkdir($small);
        exec('mount -t tmpfs -o size=64k tmpfs ' . escapeshellarg($small) . ' 2>&1', $said, $code);
        $this->mounted = $code === 0;
        if ($this->mounted) {
            file_put_contents("$small/beat", "old\n");
            @file_put_contents("$small/full", str_repeat('x', 1 << 20));
            touch("$small/beat", time() - 600);
        } else {
            // Without permission to mount: a directory in which no file can be created has the same effect.
            $small = '/proc/self/fd';
        }
        $options = ['ini' => ['log_errors' => '1'], 'env' => ['REALTIME_METRICS_TEXTFILE' => $small]];
        $result = $this->runPhp('Realtime::broadcast("user.1", "e", 1);', $options)->assertExit();
        self::assertStringContainsString("could not be written to $small (", $result->stderr);
        self::assertStringContainsString('metrics_textfile', $result->stderr);
        if ($this->mounted) {
            $this->runPhp(
                'Toporia\Realtime\Metrics::heartbeat($argv[1]); Toporia\Realtime\Metrics::beat();',
                ['args' => ["$small/beat"]]
            )->assertExit();
            clearstatcache();
            self::assertLessThan(60, time() - (int) filemtime("$small/beat"), 'a touch needs no disk space');
        }
    }

    /**
     * @return array{env: array<string, string>}
     */
    private function writing(): array
    {
        @mkdir("$this->directory/prom", 0777);

        return ['env' => ['REALTIME_METRICS_TEXTFILE' => "$this->directory/prom"]];
    }

    private function shown(): Scrape
    {
        return new Scrape((string) file_get_contents("$this->directory/prom/realtime.prom"));
    }
}
