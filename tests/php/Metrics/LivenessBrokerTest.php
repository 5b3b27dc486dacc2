<?php

/**
 * A worker that is alive but stuck is detected: by /live, its heartbeat file and systemd's watchdog.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Metrics;

use PHPUnit\Framework\Attributes\DataProvider;
use Socket;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Metrics;
use Toporia\Realtime\Tests\Gateway\RunsGateways;

final class LivenessBrokerTest extends MetricsTestCase
{
    use RunsGateways;

    private ?Socket $socket = null;

    protected function tearDown(): void
    {
        if ($this->socket !== null) {
            socket_close($this->socket);
        }
        Metrics::stop();
        parent::tearDown();
    }

    public function testAStuckCallbackIsDetected(): void
    {
        $this->handler('touch("begun"); while (!is_file("go")) { usleep(50_000); }');
        $heartbeat = "$this->directory/beat";
        [$worker, $address] = $this->worker(
            ['--channels=user.1', '--handler=Handler', "--heartbeat=$heartbeat"],
            ['env' => ['REALTIME_LIVENESS_TIMEOUT_MS' => '1500']]
        );
        self::within(static fn () => is_file($heartbeat), 'the first heartbeat', 40);
        self::assertSame("live\n", self::get($address, '/live'));
        self::assertMatchesRegularExpression('/^\d{10} ' . $worker->pid() . '$/', trim((string) file_get_contents($heartbeat)));
        $this->send('user.1', 1);
        self::within(fn () => is_file("$this->directory/begun"), 'the callback begins', 40);

        [$status, $body] = self::within(static function () use ($address): ?array {
            [$status, $body] = self::ask($address, "GET /live HTTP/1.1\r\nHost: a\r\n\r\n");

            return $status === 503 ? [$status, $body] : null;
        }, '/live answers 503');
        self::assertSame(503, $status);
        $reason = '/^not live: consumer group "' . $this->group . '": a callback has been running for [\d.]+ s/';
        self::assertMatchesRegularExpression($reason, $body);
        $scrape = self::scrape($address);
        self::assertSame(0.0, $scrape->value('realtime_process_live'));
        $group = ['group' => $this->group];
        self::assertGreaterThan(1.5, $scrape->value('realtime_consumer_callback_age_seconds', $group));
        self::assertGreaterThan(1.5, $scrape->value('realtime_consumer_poll_age_seconds', $group));
        clearstatcache();
        self::assertGreaterThan(1.0, microtime(true) - (int) filemtime($heartbeat), 'the heartbeat is old');

        touch("$this->directory/go");
        self::within(
            static fn () => self::ask($address, "GET /live HTTP/1.1\r\nHost: a\r\n\r\n")[0] === 200,
            'it lives again'
        );
        self::within(static function () use ($heartbeat): bool {
            clearstatcache();

            return time() - (int) filemtime($heartbeat) <= 1;
        }, 'it beats again');
        $worker->signal()->wait()->assertExit();
    }

    /**
     * @return iterable<string, array{bool}>
     */
    public static function sockets(): iterable
    {
        yield 'a path' => [false];
        yield 'an abstract name' => [true];
    }

    /** @dataProvider sockets */
    #[DataProvider('sockets')]
    public function testSystemdIsNotifiedOfTheLifecycle(bool $abstract): void
    {
        $this->handler('sleep(2);');
        $env = $this->listen($abstract) + ['WATCHDOG_USEC' => '1000000', 'WATCHDOG_PID' => null];
        $worker = $this->startConsole(
            ['realtime:kafka:consume', '--channels=user.1', '--handler=Handler'],
            ['cwd' => $this->directory, 'env' => $env]
        );
        self::assertStringStartsWith("READY=1\nWATCHDOG=1\nSTATUS=group $this->group: ", $this->notification(40));
        $times = [];
        while (count($times) < 3) {
            if (str_contains($this->notification(5), 'WATCHDOG=1')) {
                $times[] = microtime(true);
            }
        }
        self::assertLessThan(1.0, $times[2] - $times[1], 'within the second that systemd waits');
        self::assertGreaterThan(0.3, $times[2] - $times[0], 'and not all the time');
        // While a callback hangs nothing is sent: that triggers the watchdog.
        $this->send('user.1', 1);
        $silent = self::within(function (): float {
            $before = microtime(true);
            $this->notification(5);

            return max(0, microtime(true) - $before - 1.5);
        }, 'a silence');
        self::assertGreaterThan(0.0, $silent);
        $worker->signal();
        self::within(fn () => str_contains($this->notification(5), "STOPPING=1\n"), 'the stop is announced');
        $worker->wait()->assertExit();
    }

    public function testTheGatewayIsReadyForSystemdWhenItCanServe(): void
    {
        $gateway = $this->startConsole(
            ['realtime:gateway', '--metrics=127.0.0.1:0', '--json', '--drain=0'],
            ['cwd' => $this->directory, 'env' => $this->listen(false)]
        );
        self::assertStringContainsString("READY=1\n", self::within(
            fn () => str_contains($said = $this->notification(5), 'READY=1') ? $said : null,
            'it is ready',
            40
        ));
        $gateway->waitForOutput('/gateway_ready/');
        $gateway->signal();
        self::within(fn () => str_contains($this->notification(5), "STOPPING=1\n"), 'the stop is announced');
        $gateway->wait()->assertExit();
    }

    public function testALoopOfTheApplication(): void
    {
        $code = <<<'PHP'
            use Toporia\Realtime\Metrics;
            $heartbeat = $argv[1];
            Metrics::heartbeat($heartbeat);
            Metrics::beat('busy');
            $seen = [is_file($heartbeat), Metrics::stuck()];
            usleep(300_000);
            $seen[] = (string) Metrics::stuck();
            Metrics::beat();
            $seen[] = Metrics::stuck();
            usleep(300_000);
            Metrics::stop();
            $seen[] = Metrics::stuck();
            echo json_encode($seen);
            PHP;
        $env = ['REALTIME_LIVENESS_TIMEOUT_MS' => '200'];
        $seen = $this->runPhp($code, ['args' => ["$this->directory/beat"], 'env' => $env])->json();
        self::assertStringStartsWith('the command: no iteration of the loop for 0.', $seen[2]);
        $seen[2] = '';
        self::assertSame([true, null, '', null, null], $seen);
    }

    /**
     * The outbox relay is watched like a worker, and exits cleanly at --max-time and at --max-memory.
     */
    public function testTheRelay(): void
    {
        $options = ['cwd' => $this->directory, 'env' => $this->listen(false) + [
            'REALTIME_OUTBOX_DSN' => "sqlite:$this->directory/outbox.sqlite",
        ]];
        $this->runConsole(['realtime:outbox:table'], $options)->assertExit();
        $heartbeat = "$this->directory/beat";
        $relay = $this->startConsole(
            ['realtime:outbox:relay', '--metrics=127.0.0.1:0', "--heartbeat=$heartbeat", '--max-time=4'],
            $options
        );
        $address = $relay->waitForOutput('~metrics are served on http://([\d.:]+)/metrics~', 30)[1];
        self::within(fn () => str_contains($this->notification(5), "READY=1\n"), 'it is ready');
        self::assertSame("live\n", self::get($address, '/live'));
        self::assertSame("ready\n", self::get($address, '/ready'));
        self::assertNotNull(self::scrape($address)->value('realtime_producer_messages_total'));
        self::assertFileExists($heartbeat);
        $result = $relay->wait(30)->assertExit();
        self::assertStringContainsString('max-time', $result->stdout . $result->stderr);
        self::within(fn () => str_contains($this->notification(5), "STOPPING=1\n"), 'the stop is announced');
        $result = $this->runConsole(['realtime:outbox:relay', '--max-memory=1M'], $options)->assertExit();
        self::assertStringContainsString('max-memory', $result->stdout . $result->stderr);
    }

    public function testAnUnusableHeartbeatFile(): void
    {
        $result = $this->runConsole(
            ['realtime:kafka:consume', '--channels=user.1', '--heartbeat=/nonexistent/beat'],
            ['cwd' => $this->directory]
        );
        $result->assertExit(2);
        self::assertStringContainsString('/nonexistent/beat cannot be used: its directory does not exist', $result->stderr);
        $this->expectException(ConfigurationException::class);
        Metrics::heartbeat($this->directory);
    }

    /**
     * A notification socket like systemd's; returns the received notifications.
     *
     * @return array{NOTIFY_SOCKET: string}
     */
    private function listen(bool $abstract): array
    {
        $name = $abstract ? 'realtime-' . bin2hex(random_bytes(6)) : "$this->directory/notify";
        $socket = socket_create(AF_UNIX, SOCK_DGRAM, 0);
        self::assertInstanceOf(Socket::class, $socket);
        self::assertTrue(socket_bind($socket, $abstract ? "\0$name" : $name));
        $this->socket = $socket;

        return ['NOTIFY_SOCKET' => $abstract ? "@$name" : $name];
    }

    private function notification(int $seconds): string
    {
        self::assertNotNull($this->socket);
        socket_set_option($this->socket, SOL_SOCKET, SO_RCVTIMEO, ['sec' => $seconds, 'usec' => 0]);
        socket_recv($this->socket, $text, 4096, 0);

        return (string) $text;
    }
}
