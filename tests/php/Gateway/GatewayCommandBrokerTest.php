<?php

/**
 * realtime:gateway, with each of its options, and realtime:kafka:consume --websocket.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Gateway;

use PHPUnit\Framework\Attributes\DataProvider;
use Toporia\Realtime\Gateway;
use Toporia\Realtime\Tests\Console\ConsoleTestCase;
use Toporia\Realtime\Tests\Console\Report;
use Toporia\Realtime\Tests\Support\ChildProcess;

final class GatewayCommandBrokerTest extends ConsoleTestCase
{
    use RunsGateways;

    /**
     * Starts a command and waits for its gateway.
     *
     * @return array{ChildProcess, string} with its address
     */
    private function begin(string $arguments): array
    {
        $words = preg_split('/ +/', $arguments) ?: [];
        $child = $this->startConsole($words, ['cwd' => $this->app]);

        return [$child, $child->waitForOutput('/listens on ([0-9.]+:[0-9]+)/', 20.0)[1]];
    }

    public function testItServesUntilASignalAndDrains(): void
    {
        [$child, $address] = $this->begin('realtime:gateway');
        $client = $this->client($address);
        $client->subscribe('private-user.1');
        $this->broadcast('user.1', 'paid', 7);
        self::assertSame(7, $client->event('paid', null, 20.0)['data']);
        $child->signal();
        self::assertSame(4200, $client->socket->closed(10.0)[0] ?? null);
        $result = $child->wait(10.0)->assertExit();
        self::assertStringContainsString('draining 1 socket', $result->stdout);
        self::assertStringContainsString('Stopped by a signal', $result->stdout);
    }

    public function testASecondGatewayOnThePortIsReported(): void
    {
        [$first, $address] = $this->begin('realtime:gateway');
        self::assertStringNotContainsString('already listens on', $first->stderr());
        $port = substr((string) strrchr($address, ':'), 1);
        [$second, $same] = $this->begin("realtime:gateway --port=$port");
        self::assertSame($address, $same);
        self::assertStringContainsString("Another gateway already listens on ", $second->stderr());
    }

    public function testCtrlCStopsItToo(): void
    {
        [$child] = $this->begin('realtime:gateway');
        $child->signal(SIGINT)->wait(10.0)->assertExit();
    }

    public function testHostAndPort(): void
    {
        $free = stream_socket_server('tcp://127.0.0.1:0');
        assert($free !== false);
        $port = substr((string) strrchr((string) stream_socket_get_name($free, false), ':'), 1);
        fclose($free);
        [, $address] = $this->begin("realtime:gateway --host=127.0.0.2 --port=$port");
        self::assertSame("127.0.0.2:$port", $address);
        $this->client($address);
    }

    public function testAPortInUseIsExitCode1AndNamesTheLikelyOwner(): void
    {
        $other = stream_socket_server('tcp://127.0.0.1:0');
        assert($other !== false);
        $port = substr((string) strrchr((string) stream_socket_get_name($other, false), ':'), 1);
        $result = $this->console("realtime:gateway --port=$port")->assertExit(1);
        self::assertStringContainsString('in use', $result->stderr);
        self::assertStringContainsString('realtime:serve', $result->stderr);
    }

    public function testWsChannels(): void
    {
        [, $address] = $this->begin('realtime:gateway --ws-channels=order.*,public.** --ws-channels=chat.1');
        $client = $this->client($address);
        $client->subscribe('private-order.1');
        $client->subscribe('public.a');
        $client->subscribe('private-chat.1');
        $auth = Gateway::authorize($client->socketId, 'private-user.1', null, $this->settings())['auth'];
        $client->say('pusher:subscribe', ['channel' => 'private-user.1', 'auth' => $auth]);
        $client->event('pusher:subscription_error', 'private-user.1');
    }

    public function testBroker(): void
    {
        $result = $this->console('realtime:gateway --broker=nobody')->assertExit(2);
        self::assertStringContainsString("'nobody'", $result->stderr);
        $this->configure("['brokers' => ['events' => ['brokers' => '" . self::address() . "', 'topic_prefix' => "
            . "'$this->prefix']]]");
        [, $address] = $this->begin('realtime:gateway --broker=events');
        $client = $this->client($address);
        $client->subscribe('private-a');
        $this->broadcast('a', 'x', 1);
        $client->event('x', null, 20.0);
    }

    public function testMaxTimeAndDrain(): void
    {
        [$child, $address] = $this->begin('realtime:gateway --max-time=1 --drain=0');
        $client = $this->client($address);
        $result = $child->wait(10.0)->assertExit();
        self::assertStringContainsString('Stopped at --max-time', $result->stdout);
        self::assertStringNotContainsString('elsewhere', $result->stdout, 'no time to drain');
        self::assertNotNull($client->socket->closed());
    }

    public function testMaxMemory(): void
    {
        $result = $this->console('realtime:gateway --max-memory=1M')->assertExit();
        self::assertStringContainsString('Stopped at --max-memory', $result->stdout);
    }

    public function testRestart(): void
    {
        [$child] = $this->begin('realtime:gateway');
        $this->console('realtime:restart')->assertExit();
        self::assertStringContainsString('Stopped by realtime:restart', $child->wait(10.0)->assertExit()->stdout);
    }

    public function testJson(): void
    {
        $report = new Report($this->console('realtime:gateway --json --max-time=2'));
        self::assertSame('max_time', $report->summary()['reason']);
        self::assertMatchesRegularExpression('/\A127\.0\.0\.1:\d+\z/', $report->of('gateway')[0]['address']);
        self::assertSame([], $report->of('gateway')[0]['ws_channels']);
        self::assertSame(0, $report->of('gateway_stopped')[0]['stats']['connections']);
    }

    /**
     * @dataProvider wrong
     *
     * @param array<string, string|null> $env
     */
    #[DataProvider('wrong')]
    public function testWrongUsageIsExitCode2(string $arguments, string $says, array $env = []): void
    {
        $result = $this->console($arguments, ['env' => $env])->assertExit(2);
        self::assertStringContainsString($says, $result->stderr);
    }

    /** @return array<string, list<mixed>> */
    public static function wrong(): array
    {
        return [
            'no secret' => ['realtime:gateway', 'openssl rand -hex 32', ['REALTIME_APP_SECRET' => null]],
            'a short one' => ['realtime:gateway', 'shorter than 32', ['REALTIME_APP_SECRET' => 'secret']],
            'no key' => ['realtime:gateway', 'REALTIME_APP_KEY', ['REALTIME_APP_KEY' => '']],
            'a port' => ['realtime:gateway --port=http', "--port='http'"],
            'an unknown option' => ['realtime:gateway --prot=1', 'prot'],
            'channels' => ['realtime:gateway --ws-channels=', '--ws-channels'],
            'a socket alone' => ['realtime:kafka:consume --channels=a --ws-channels=b', 'requires --websocket'],
            'an address' => ['realtime:kafka:consume --websocket=http://x', '--websocket'],
            'nothing to count' => ['realtime:kafka:consume --websocket --max-messages=1', '--max-messages requires a consumer'],
        ];
    }

    public function testCallbacksAndSocketsInOneProcess(): void
    {
        $this->classes(<<<'PHP'
            final class Slow
            {
                public function handle(Message $message): void
                {
                    file_put_contents(getcwd() . '/log', $message->getEvent() . "\n", FILE_APPEND);
                    usleep(1_500_000);
                }
            }
            PHP);
        $this->createTopic($this->channelTopic('order.1'));
        [$child, $address] = $this->begin(
            'realtime:kafka:consume --channels=order.1 --handler=Slow --websocket=127.0.0.1:0 --drain=500'
        );
        $child->waitForOutput('/assigned: /', 20.0);
        $client = $this->client($address);
        $client->subscribe('private-order.1');
        $this->broadcast('order.1', 'warm');
        $client->event('warm', null, 20.0);
        self::eventually(fn () => $this->log() === ['warm'], 'the handler has it too', 20.0);
        $sent = microtime(true);
        $this->broadcast('order.1', 'paid', 7);
        self::assertSame(7, ($event = $client->event('paid'))['data']);
        self::assertLessThan(1.0, $event['at'] - $sent, 'while the handler sleeps');
        self::eventually(fn () => $this->log() === ['warm', 'paid'], 'then the handler has it', 20.0);
        $child->signal();
        self::assertSame(4200, $client->socket->closed(15.0)[0] ?? null);
        $result = $child->wait(15.0)->assertExit();
        self::assertStringContainsString('the gateway has stopped', $result->stdout);
        self::assertStringContainsString('Stopped by a signal', $result->stdout);
    }

    public function testASignalRightAfterItListensStopsTheWorkerCleanly(): void
    {
        $this->classes('final class Idle { public function handle(Message $message): void {} }');
        [$child] = $this->begin('realtime:kafka:consume --channels=order.1 --handler=Idle --websocket=127.0.0.1:0');
        $result = $child->signal()->wait(20.0)->assertExit();
        self::assertStringContainsString('the gateway has stopped', $result->stdout);
        self::assertStringContainsString('Stopped by a signal', $result->stdout);
    }

    public function testWithoutCallbacksOnlyTheGatewayRuns(): void
    {
        foreach (['', ' --channels=a'] as $channels) {
            [$child, $address] = $this->begin("realtime:kafka:consume --websocket --ws-channels=a,b$channels");
            $this->client($address)->subscribe('private-b');
            $child->signal();
            $result = $child->wait(15.0)->assertExit();
            self::assertStringNotContainsString('Consuming from', $result->stdout);
        }
    }

    public function testAConfiguredPortIsUsed(): void
    {
        $this->configure("['gateway' => ['port' => 0, 'host' => '127.0.0.3']]");
        [, $address] = $this->begin('realtime:kafka:consume --websocket');
        self::assertStringStartsWith('127.0.0.3:', $address);
    }
}
