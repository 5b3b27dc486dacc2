<?php

/**
 * Base of the tests of metrics and liveness: workers with a port, scrapes, promtool, a real Prometheus.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Metrics;

use Closure;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Tests\Support\BrokerTestCase;
use Toporia\Realtime\Tests\Support\ChildProcess;

abstract class MetricsTestCase extends BrokerTestCase
{
    /** A directory of this test. */
    protected string $directory = '';

    protected function setUp(): void
    {
        parent::setUp();
        $this->directory = sys_get_temp_dir() . '/realtime-metrics-' . bin2hex(random_bytes(5));
        mkdir($this->directory, 0777);
    }

    protected function tearDown(): void
    {
        parent::tearDown();
        exec('rm -rf ' . escapeshellarg($this->directory));
    }

    /**
     * A realtime:kafka:consume worker with --metrics on a free port, and the address of that port.
     *
     * @param list<string> $arguments
     * @param array<string, mixed> $options as startConsole() takes them
     *
     * @return array{ChildProcess, string}
     */
    protected function worker(array $arguments, array $options = []): array
    {
        $child = $this->startConsole(
            ['realtime:kafka:consume', '--metrics=127.0.0.1:0', '--json', ...$arguments],
            $options + ['cwd' => $this->directory]
        );

        return [$child, $child->waitForOutput('/"address":"(127\.0\.0\.1:\d+)"/', 30)[1]];
    }

    /**
     * An application with a class Handler whose handle() is this code.
     */
    protected function handler(string $code): void
    {
        mkdir("$this->directory/config");
        file_put_contents(
            "$this->directory/config/realtime.php",
            '<?php final class Handler { public function handle(\Toporia\Realtime\Message $message): void {' . $code
            . '} } return ["max_retries" => 1, "retry_backoff_ms" => 1, "retry_backoff_max_ms" => 5];'
        );
    }

    protected static function get(string $address, string $path = '/metrics', string $headers = ''): string
    {
        [$status, $body] = self::ask($address, "GET $path HTTP/1.1\r\nHost: $address\r\n$headers\r\n");
        self::assertSame(200, $status, "$path: $body");

        return $body;
    }

    /**
     * Status and body of the response to a literal request.
     *
     * @return array{int, string, string} the third: the head of the answer
     */
    protected static function ask(string $address, string $request): array
    {
        $stream = stream_socket_client("tcp://$address", $code, $error, 10);
        self::assertIsResource($stream, "$address: $error");
        stream_set_timeout($stream, 10);
        fwrite($stream, $request);
        $answer = (string) stream_get_contents($stream);
        fclose($stream);
        [$head, $body] = explode("\r\n\r\n", $answer, 2) + ['', ''];
        preg_match('/^HTTP\/1\.1 (\d+)/', $head, $match);

        return [(int) ($match[1] ?? 0), $body, $head];
    }

    protected static function scrape(string $address): Scrape
    {
        return new Scrape(self::get($address));
    }

    /**
     * Waits until a value is truthy, and returns it.
     *
     * @template T
     *
     * @param Closure(): T $look
     *
     * @return T
     */
    protected static function within(Closure $look, string $what, float $seconds = 20): mixed
    {
        $end = microtime(true) + $seconds;
        do {
            $found = $look();
            if ($found) {
                return $found;
            }
            usleep(100_000);
        } while (microtime(true) < $end);
        self::fail("Not within $seconds s: $what");
    }

    /**
     * The complaints of promtool about an exposition; empty if it is valid.
     */
    protected static function promtool(string $text): string
    {
        $process = proc_open(['promtool', 'check', 'metrics'], [['pipe', 'r'], ['pipe', 'w'], ['pipe', 'w']], $pipes);
        self::assertIsResource($process);
        fwrite($pipes[0], $text);
        fclose($pipes[0]);
        $said = stream_get_contents($pipes[1]) . stream_get_contents($pipes[2]);
        $code = proc_close($process);

        return $said . ($code === 0 ? '' : "exit code $code");
    }

    /**
     * @param int $count messages 0, 1, … on a channel, acknowledged
     */
    protected function send(string $channel, int $count): void
    {
        for ($n = 0; $n < $count; $n++) {
            Realtime::broadcast($channel, 'e', $n);
        }
        Realtime::flush();
    }
}
