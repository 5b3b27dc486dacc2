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
        $unit = self::file('systemd/toporia-realtime-consume@.service', [
            '/usr/bin/php' => $this->php(),
            '/srv/app' => $this->app,
            '/etc/toporia-realtime/' => "$this->app/",
            'User=www-data' => 'User=' . posix_getpwuid(posix_getuid())['name'],
            'Group=www-data' => 'Group=' . posix_getgrgid(posix_getgid())['name'],
            'WatchdogSec=90' => 'WatchdogSec=3',
            // The files of the test are in /tmp, and the extension may be in a home directory.
            'PrivateTmp=yes' => 'PrivateTmp=no',
            'ProtectHome=yes' => 'ProtectHome=no',
            'ProtectSystem=strict' => "ProtectSystem=strict\nReadWritePaths=$this->app",
            '/var/lib/toporia-realtime/spool' => "$this->app/spool",
        ]);
        $this->write('units/systemd/user/toporia-realtime-consume@.service', $unit);
        $this->write('orders.env', self::file('systemd/worker.env.example', [
            'kafka-1:9092,kafka-2:9092,kafka-3:9092' => self::address(),
            '127.0.0.1:9101' => '127.0.0.1:' . self::freePort(),
        ]) . "KAFKA_TOPIC_PREFIX=$this->prefix\n");
        $this->write('wrong.env', "CHANNELS=order.*\nOPTIONS=--no-such-option\n");

        $script = self::root() . '/tests/php/Deploy/systemd.sh';
        $this->publish('order.1', 'a');
        $result = $this->execute(['unshare', '--mount', 'bash', $script, $this->app], ['XDG_CONFIG_HOME' => "$this->app/units"], 120.0);
        $result->assertExit();
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
        self::assertNotSame([], $this->log(), 'the handler that the environment file names was called: ' . $result->stdout);
        $rest = $this->consume('--channels=order.* --group=mailer --stop-when-empty');
        self::assertSame([], $rest->events(), 'what was handled is committed');
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
