<?php

/**
 * deploy/systemd in a real systemd: the units are valid and hardened; a worker is started, watched, reloaded, stopped.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Deploy;

use Toporia\Realtime\Tests\Support\ProcessResult;

final class SystemdEmbeddedTest extends DeployTestCase
{
    private const UNITS = [
        'toporia-realtime-consume@.service',
        'toporia-realtime-gateway@.service',
        'toporia-realtime-outbox.service',
        'toporia-realtime-webhooks.service',
    ];

    public function testTheUnitsAreValidAndHardened(): void
    {
        foreach (self::UNITS as $unit) {
            $file = $this->write($unit, self::file("systemd/$unit"));
            $result = $this->execute([self::program('systemd-analyze'), 'verify', $file])->assertExit();
            self::assertSame('', $result->stderr, $unit);
            // Exposure of at most 2.0 on systemd's scale of 10.
            $this->execute([
                self::program('systemd-analyze'), 'security', '--offline=true', '--no-pager', '--threshold=20', $file,
            ])->assertExit();
        }
    }

    public function testTheWatchdogIsSlowerThanTheLoopsOwnLimit(): void
    {
        $unit = self::file('systemd/toporia-realtime-consume@.service');
        self::assertSame(1, preg_match('/^WatchdogSec=(\d+)$/m', $unit, $watchdog));
        self::assertGreaterThanOrEqual(60, (int) $watchdog[1], 'liveness_timeout_ms');
        self::assertSame(1, preg_match('/^TimeoutStopSec=(\d+)$/m', $unit, $stop));
        self::assertGreaterThanOrEqual(30, (int) $stop[1], 'the callback, 5 s for what waits, 10 s for the flush');
    }

    public function testAWorkerIsWatchedReloadedAndStopped(): void
    {
        $this->skipUnlessMountsCanBeChanged();
        $this->orderHandler();
        $here = [
            '/usr/bin/php' => $this->php(),
            '/srv/app' => $this->app,
            '/etc/toporia-realtime/' => "$this->app/",
            'User=www-data' => 'User=' . posix_getpwuid(posix_getuid())['name'],
            'Group=www-data' => 'Group=' . posix_getgrgid(posix_getgid())['name'],
            // The files of the test are in /tmp, and the extension may be in a home directory.
            'PrivateTmp=yes' => 'PrivateTmp=no',
            'ProtectHome=yes' => 'ProtectHome=no',
            'ProtectSystem=strict' => "ProtectSystem=strict\nReadWritePaths=$this->app",
        ];
        $unit = self::file('systemd/toporia-realtime-consume@.service', $here + [
            'WatchdogSec=90' => 'WatchdogSec=3',
            '/var/lib/toporia-realtime/spool' => "$this->app/spool",
        ]);
        $this->write('units/systemd/user/toporia-realtime-consume@.service', $unit);
        $unit = self::file('systemd/toporia-realtime-gateway@.service', $here);
        $this->write('units/systemd/user/toporia-realtime-gateway@.service', $unit);
        $port = self::portOfAnInstance();
        $this->write('gateway.env', self::file('systemd/gateway.env.example', [
            'kafka-1:9092,kafka-2:9092,kafka-3:9092' => self::address(),
            'REALTIME_APP_SECRET=' => 'REALTIME_APP_SECRET=' . bin2hex(random_bytes(16)),
        ]) . "KAFKA_TOPIC_PREFIX=$this->prefix\n");
        $this->write('orders.env', self::file('systemd/worker.env.example', [
            'kafka-1:9092,kafka-2:9092,kafka-3:9092' => self::address(),
            '127.0.0.1:9101' => '127.0.0.1:' . self::freePort(),
        ]) . "KAFKA_TOPIC_PREFIX=$this->prefix\n");
        $this->write('wrong.env', "CHANNELS=order.*\nOPTIONS=--no-such-option\n");

        $script = self::root() . '/tests/php/Deploy/systemd.sh';
        $this->publish('order.1', 'a');
        $run = $this->start(
            ['unshare', '--mount', 'bash', $script, $this->app, "$port"],
            ['XDG_CONFIG_HOME' => "$this->app/units", 'SYSTEMD_COLORS' => '0']
        );
        self::eventually(fn () => !$run->isRunning() || is_file("$this->app/gateway-started"), 'the gateway starts', 120.0);
        if ($run->isRunning()) {
            self::waitUntilReady("127.0.0.1:1$port");
            self::assertBrowsersConnect(["127.0.0.1:$port"]);
            $this->write('browsers-done', '');
        }
        $result = $run->wait(60.0)->assertExit();
        $said = [];
        foreach ($result->lines() as $line) {
            [$name, $value] = explode('=', $line, 2) + [1 => ''];
            $said[$name] = $value;
        }
        self::assertSame('active', $said['started'], 'it said READY=1');
        self::assertSame('watchdog', $said['frozen'], 'a frozen one is found');
        self::assertSame('1', $said['again'], 'and another one started');
        self::assertSame('success 0', $said['reloaded'], 'a reload ends it in order');
        self::assertNotSame($said['before'], $said['after'], 'and another one started');
        self::assertSame('success 0', $said['stopped']);
        self::assertSame('2 0', $said['wrong'], 'a wrong option is not tried again');
        self::assertSame('active', $said['gateway'], 'it said READY=1');
        self::assertSame('success 0', $said['gateway-stopped']);
        self::assertNotSame([], $this->log(), 'the handler that the environment file names was called: ' . $result->stdout);
        $rest = $this->consume('--channels=order.* --group=mailer --stop-when-empty');
        self::assertSame([], $rest->events(), 'what was handled is committed');
    }

    /** A free port of four digits; with a 1 in front it is the port of the operations, also free. */
    private static function portOfAnInstance(): int
    {
        for ($tries = 0; $tries < 100; $tries++) {
            $port = random_int(2_000, 5_500);
            foreach ([$port, 10_000 + $port] as $one) {
                $socket = @stream_socket_server("tcp://127.0.0.1:$one");
                if (!is_resource($socket) || !fclose($socket)) {
                    continue 2;
                }
            }

            return $port;
        }
        self::fail('There is no free port between 2000 and 5500.');
    }

    private function skipUnlessMountsCanBeChanged(): void
    {
        $tried = $this->execute(['unshare', '--mount', 'mount', '-t', 'tmpfs', 'tmpfs', '/run']);
        if ($tried->exitCode !== 0) {
            self::markTestSkipped(
                'Needs root and a machine or container that may change mounts (docker run --cap-add SYS_ADMIN): '
                . trim($tried->stderr)
            );
        }
    }

    protected function execute(array $command, array $env = [], float $seconds = 30.0): ProcessResult
    {
        return parent::execute($command, $env + ['SYSTEMD_COLORS' => '0'], $seconds);
    }
}
