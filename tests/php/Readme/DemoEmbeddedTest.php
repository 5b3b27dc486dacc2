<?php

/**
 * `make demo` shows a flow of orders, exits by itself, and leaves no process behind.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Readme;

use PHPUnit\Framework\TestCase;
use Toporia\Realtime\Tests\Support\ChildProcess;
use Toporia\Realtime\Tests\Support\RunsPhp;

final class DemoEmbeddedTest extends TestCase
{
    use RunsPhp;

    public function testOrdersOfTheScriptAndThePageAreReceivedAndNothingIsLeft(): void
    {
        $temporary = sys_get_temp_dir() . '/realtime-demo-test-' . bin2hex(random_bytes(4));
        mkdir($temporary);
        $env = ['DEMO_SECONDS' => '4', 'DEMO_PORT' => '0', 'TMPDIR' => $temporary, 'PHP' => PHP_BINARY] + getenv();
        $demo = $this->children[] = new ChildProcess(['bash', self::root() . '/examples/demo/run.sh'], $env);
        $url = $demo->waitForOutput('~open (http://\S+)~', 60.0)[1];

        self::assertStringContainsString('<title>Orders, live</title>', (string) file_get_contents($url));
        $order = ['method' => 'POST', 'content' => http_build_query(['city' => 'hue', 'dish' => 'Phở bò'])];
        $order['header'] = 'Content-Type: application/x-www-form-urlencoded';
        file_get_contents("$url/order", false, stream_context_create(['http' => $order]));

        $result = $demo->wait(40.0)->assertExit();
        self::assertMatchesRegularExpression('/by the visitor; the call took \d+ µs/', $result->stdout);
        $pattern = '/^(?<sent>\d+) orders broadcast, 2 services received (?<got>\d+) of (?<all>\d+)\./m';
        self::assertSame(1, preg_match($pattern, $result->stdout, $summary), $result->describe());
        self::assertGreaterThanOrEqual(4, (int) $summary['sent']);
        self::assertSame($summary['all'], $summary['got']);
        self::assertStringContainsString('What to try next', $result->stdout);

        self::assertSame(1, preg_match('/protocol on (\S+:\d+)/', $result->stderr, $broker), $result->describe());
        foreach ([parse_url($url, PHP_URL_HOST) . ':' . parse_url($url, PHP_URL_PORT), $broker[1]] as $address) {
            self::assertFalse(@stream_socket_client("tcp://$address", $code, $why, 1.0), "$address still answers");
        }
        self::assertTrue(rmdir($temporary), 'It left files behind.');
    }
}
