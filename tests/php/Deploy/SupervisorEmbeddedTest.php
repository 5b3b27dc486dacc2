<?php

/**
 * deploy/supervisor in a real Supervisor: it starts the workers, restarts a killed one, and stops them cleanly.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Deploy;

use Toporia\Realtime\Tests\Support\ProcessResult;

final class SupervisorEmbeddedTest extends DeployTestCase
{
    private string $configuration;
    private int $ports;
    private int $sockets;
    private int $operations;
    /**  array<string, string>|null */
    private ?array $secrets = null;

    protected function setUp(): void
    {
        parent::setUp();
        $this->orderHandler();
        [$this->ports, $this->sockets, $this->operations] = [self::freePorts(4), self::freePorts(4), self::freePorts(4)];
        $programs = self::file('supervisor/toporia-realtime.conf', [
            '/usr/bin/php' => $this->php(),
            '/srv/app' => $this->app,
            "user=www-data\n" => '',
            'kafka-1:9092,kafka-2:9092' => self::address(),
            '/var/lib/toporia-realtime/spool' => "$this->app/spool",
            '/var/log/supervisor/' => "$this->app/output/",
            '127.0.0.1:910%' => "127.0.0.1:{$this->ports}%",
            '--port=600%' => "--port={$this->sockets}%",
            '127.0.0.1:1600%' => "127.0.0.1:{$this->operations}%",
        ]);
        $this->write('realtime.conf', $programs);
        mkdir("$this->app/output");
        $this->configuration = $this->write('supervisord.conf', <<<INI
            [supervisord]
            nodaemon=true
            logfile=$this->app/supervisord.log
            pidfile=$this->app/supervisord.pid
            childlogdir=$this->app
            [unix_http_server]
            file=$this->app/supervisor.sock
            [rpcinterface:supervisor]
            supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
            [supervisorctl]
            serverurl=unix://$this->app/supervisor.sock
            [include]
            files=realtime.conf
            INI);
    }

    public function testItStartsRestartsAndStopsThemCleanly(): void
    {
        $this->start([self::program('supervisord'), '-c', $this->configuration], $this->environment());
        $this->untilAllRun();
        foreach ([1, 2] as $number) {
            self::waitUntilReady("127.0.0.1:$this->operations$number");
        }
        self::assertBrowsersConnect(["127.0.0.1:{$this->sockets}1", "127.0.0.1:{$this->sockets}2"]);
        foreach (['realtime-outbox', 'realtime-webhooks'] as $off) {
            self::assertSame('STOPPED', $this->processes()[$off]['state']);
        }
        $this->control('start', 'realtime-webhooks')->assertExit();
        self::eventually(
            fn () => str_contains((string) @file_get_contents("$this->app/output/realtime-webhooks.log"), 'https://shop.example'),
            'the sender of webhooks reads the topic',
            20.0
        );
        $this->control('stop', 'realtime-webhooks')->assertExit();
        self::assertStringContainsString(
            'stopped: realtime-webhooks (exit status 0)',
            (string) file_get_contents("$this->app/supervisord.log")
        );

        $this->publish('order.1', 'a', 'b', 'c');
        $this->waitForEvents(3);

        // Killed without a signal handler: another worker replaces it, and the group continues.
        $killed = $this->processes()['realtime-consume_0']['pid'];
        posix_kill($killed, SIGKILL);
        $this->anotherThan($killed);
        $this->publish('order.1', 'd', 'e');
        $this->waitForEvents(5);
        // A member that leaves during a rebalance may not commit any more: its records would be delivered again.
        $this->waitForCommits('mailer', 5);

        // The effect of realtime:restart: exit code 0, and a new process.
        $before = $this->pids();
        $restart = [$this->php(), 'vendor/bin/toporia-realtime', 'realtime:restart'];
        $this->execute($restart, $this->environment())->assertExit();
        self::eventually(fn () => array_intersect($this->pids(), $before) === [], 'all are others now', 30.0);
        $this->untilAllRun();

        $this->control('stop', 'all')->assertExit();
        $log = (string) file_get_contents("$this->app/supervisord.log");
        foreach (['realtime-consume_0', 'realtime-consume_1', 'realtime-gateway_1', 'realtime-gateway_2'] as $name) {
            self::assertMatchesRegularExpression("/stopped: $name \(exit status 0\)/", $log);
        }
        $rest = $this->consume("--channels=order.* --group=mailer --stop-when-empty");
        self::assertSame([], $rest->events(), 'everything that was handled is committed');
    }

    private function untilAllRun(): void
    {
        $run = fn (): int => count(array_keys(array_column($this->processes(), 'state'), 'RUNNING', true));
        self::eventually(fn (): bool => $run() === 4, 'two workers and two gateways run', 40.0);
    }

    /** @return list<int> the processes that run */
    private function pids(): array
    {
        return array_values(array_filter(array_column($this->processes(), 'pid')));
    }

    /** Waits until the first worker is another process. */
    private function anotherThan(int $pid): void
    {
        $now = fn (): int => $this->processes()['realtime-consume_0']['pid'];
        self::eventually(fn (): bool => !in_array($now(), [0, $pid], true), 'another process took its place', 30.0);
    }

    /**
     * The query of supervisorctl status, without starting Python each time.
     *
     * @return array<string, array{state: string, pid: int}> by name
     */
    private function processes(): array
    {
        $socket = @stream_socket_client("unix://$this->app/supervisor.sock");
        if ($socket === false) {
            return [];
        }
        $call = '<?xml version="1.0"?><methodCall><methodName>supervisor.getAllProcessInfo</methodName></methodCall>';
        fwrite($socket, "POST /RPC2 HTTP/1.0\r\nContent-Type: text/xml\r\nContent-Length: " . strlen($call) . "\r\n\r\n$call");
        $answer = explode("\r\n\r\n", (string) stream_get_contents($socket), 2)[1] ?? '';
        $processes = [];
        foreach ((array) @simplexml_load_string($answer)?->xpath('//data/value/struct') as $struct) {
            $found = [];
            foreach ($struct->member as $member) {
                $found[(string) $member->name] = (string) ($member->value->children()[0] ?? '');
            }
            $processes[$found['name']] = ['state' => $found['statename'], 'pid' => (int) $found['pid']];
        }

        return $processes;
    }
    private function control(string ...$arguments): ProcessResult
    {
        return $this->execute([self::program('supervisorctl'), '-c', $this->configuration, ...array_values($arguments)]);
    }

    /** @return array<string, string> */
    private function environment(): array
    {
        return $this->secrets ??= $this->application();
    }
}
