<?php

/**
 * The port of --metrics under load: many clients, slow and invalid clients, forks, a port in use.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Metrics;

use PHPUnit\Framework\Attributes\DataProvider;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\ConnectionException;
use Toporia\Realtime\Metrics;

final class ListenerBrokerTest extends MetricsTestCase
{
    protected function tearDown(): void
    {
        Metrics::stop();
        parent::tearDown();
    }

    public function testAThousandConcurrentScrapes(): void
    {
        $address = (string) Metrics::serve('127.0.0.1:0');
        $threads = self::threads();
        $request = "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n";
        $streams = [];
        for ($n = 0; $n < 1000; $n++) {
            $flags = STREAM_CLIENT_CONNECT | STREAM_CLIENT_ASYNC_CONNECT;
            $stream = stream_socket_client("tcp://$address", $code, $error, 10, $flags);
            self::assertIsResource($stream, (string) $error);
            stream_set_blocking($stream, false);
            $streams[$n] = $stream;
        }
        $sent = $answers = [];
        $most = $threads;
        $end = microtime(true) + 30;
        while ($streams !== [] && microtime(true) < $end) {
            foreach ($streams as $n => $stream) {
                if (!isset($sent[$n])) {
                    if (@fwrite($stream, $request) === strlen($request)) {
                        $sent[$n] = true;
                        $answers[$n] = '';
                    }
                    continue;
                }
                $answers[$n] .= (string) fread($stream, 65536);
                if (feof($stream)) {
                    fclose($stream);
                    unset($streams[$n]);
                }
            }
            $most = max($most, self::threads());
        }
        $whole = array_filter($answers, static fn ($answer) => str_starts_with($answer, 'HTTP/1.1 200')
            && str_contains($answer, 'process_cpu_seconds_total'));
        self::assertCount(1000, $whole);
        self::assertSame($threads, $most, 'no thread for a connection');
    }

    public function testSlowAndInvalidClientsBlockNoScrape(): void
    {
        $address = (string) Metrics::serve('127.0.0.1:0');
        $slow = [];
        for ($n = 0; $n < 100; $n++) {
            $slow[$n] = stream_socket_client("tcp://$address");
            self::assertIsResource($slow[$n]);
            fwrite($slow[$n], 'GET /metrics HTT');
        }
        $start = microtime(true);
        self::assertSame("OK\n", self::get($address, '/up'));
        self::assertLessThan(2.0, microtime(true) - $start);
        foreach (
            [
                "\x16\x03\x01\x02\x00 this is TLS" . "\r\n\r\n" => 400,
                "GET / HTTP/1.1\r\nHost: a\r\n\r\n" => 404,
                "DELETE /metrics HTTP/1.1\r\nHost: a\r\n\r\n" => 405,
                "POST /live HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" => 405,
                'GET /' . str_repeat('a', 10000) . " HTTP/1.1\r\nHost: a\r\n\r\n" => 431,
                "GET /metrics HTTP/1.1\r\nHost: a\r\nAccept: \xff\xfe\r\n\r\n" => 200,
            ] as $request => $status
        ) {
            self::assertSame($status, self::ask($address, $request)[0], substr($request, 0, 30));
        }
        // Slow clients get an error response and are disconnected.
        $answer = stream_get_contents($slow[0]);
        self::assertStringStartsWith('HTTP/1.1 408', (string) $answer);
        self::assertLessThan(12.0, microtime(true) - $start);
    }

    public function testAPortInUseEndsTheCommandAndIsReported(): void
    {
        $address = (string) Metrics::serve('127.0.0.1:0');
        $result = $this->runConsole(
            ['realtime:kafka:consume', '--channels=user.1', "--metrics=$address"],
            ['cwd' => $this->directory]
        );
        $result->assertExit(1);
        self::assertStringContainsString("Metrics cannot be served on $address (", $result->stderr);
        self::assertStringContainsString('range', $result->stderr);
        // For a setting that several workers share it is a warning: their work is more important.
        $result = $this->runConsole(
            ['realtime:kafka:consume', '--channels=user.1', '--max-time=1'],
            ['cwd' => $this->directory, 'env' => ['REALTIME_METRICS' => $address], 'ini' => ['log_errors' => '1']]
        );
        $result->assertExit(0);
        self::assertStringContainsString("Metrics cannot be served on $address (", $result->stderr);
    }

    /**
     * @return iterable<string, array{string}>
     */
    public static function wrongAddresses(): iterable
    {
        foreach (['9400', ':9400', 'nohost.invalid:80', '127.0.0.1:70000', '127.0.0.1:9-8', 'a b:1'] as $address) {
            yield $address => [$address];
        }
    }

    /** @dataProvider wrongAddresses */
    #[DataProvider('wrongAddresses')]
    public function testAnInvalidAddressIsWrongUsage(string $address): void
    {
        $this->expectException(ConfigurationException::class);
        $this->expectExceptionMessage('use host:port');
        Metrics::serve($address);
    }

    public function testTheFirstFreePortOfARange(): void
    {
        $first = (int) substr((string) strrchr((string) Metrics::serve('127.0.0.1:0'), ':'), 1);
        $last = $first + 20;
        $code = "echo Toporia\\Realtime\\Metrics::serve('127.0.0.1:$first-$last');";
        $port = (int) substr((string) strrchr($this->runPhp($code)->assertExit()->stdout, ':'), 1);
        self::assertGreaterThan($first, $port);
        self::assertLessThanOrEqual($last, $port);
        $code = "Toporia\\Realtime\\Metrics::serve('127.0.0.1:$first-$first');";
        $result = $this->runPhp($code);
        self::assertStringContainsString(ConnectionException::class, $result->stderr);
        self::assertStringContainsString("127.0.0.1:$first-$first", $result->stderr);
    }

    public function testAForkedChildInheritsNoPort(): void
    {
        $result = $this->runPhp(<<<'PHP'
            use Toporia\Realtime\Metrics;
            $address = Metrics::serve('127.0.0.1:0');
            [$parent, $child] = stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_STREAM, 0);
            $pid = pcntl_fork();
            if ($pid === 0) {
                fwrite($child, 'x');
                // The child lives on after its parent's port is closed, and has an own one.
                usleep(300_000);
                $own = Metrics::serve('127.0.0.1:0');
                $ok = str_contains((string) file_get_contents("http://$own/metrics"), 'realtime_build_info');
                usleep(500_000);
                exit($ok ? 0 : 1);
            }
            $before = (string) file_get_contents("http://$address/live");
            // fork() has returned in the child, so its copy of the socket is closed.
            fread($parent, 1);
            Metrics::stop();
            // Free again, though the child runs: the port can be taken by the next worker.
            $again = Metrics::serve($address);
            $after = (string) file_get_contents("http://$again/live");
            pcntl_waitpid($pid, $status);
            echo json_encode([$before, $after, $again === $address, pcntl_wexitstatus($status)]);
            PHP);
        self::assertSame(["live\n", "live\n", true, 0], $result->json());
    }

    private static function threads(): int
    {
        return count(glob('/proc/self/task/*') ?: []);
    }
}
