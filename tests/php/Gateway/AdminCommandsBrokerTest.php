<?php

/**
 * Connection lists, kicking and unsubscribing: with the object, from another process, by command, across all gateways.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Gateway;

use PHPUnit\Framework\Attributes\DataProvider;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\ConnectionException;
use Toporia\Realtime\Exception\InvalidChannelException;
use Toporia\Realtime\Gateway;
use Toporia\Realtime\Tests\Console\ConsoleTestCase;

final class AdminCommandsBrokerTest extends ConsoleTestCase
{
    use RunsGateways;

    /** A remote gateway, as in a controller. */
    private function remote(Gateway $gateway): Gateway
    {
        return new Gateway($this->settings(['api_listen' => $gateway->address()]));
    }

    public function testConnections(): void
    {
        $gateway = $this->gateway();
        $one = $this->client($gateway);
        $two = $this->client($gateway);
        $one->subscribe('private-a');
        $one->subscribe('presence-b', ['user_id' => 7]);
        foreach ([$gateway, $this->remote($gateway)] as $asked) {
            $all = array_column($asked->connections(), null, 'socket_id');
            self::assertEqualsCanonicalizing([$one->socketId, $two->socketId], array_keys($all));
            $first = $all[$one->socketId];
            sort($first['channels']);
            self::assertSame(['presence-b', 'private-a'], $first['channels']);
            self::assertStringStartsWith('127.0.0.1', $first['address']);
            self::assertSame([], $all[$two->socketId]['channels']);
            foreach ([['user' => 7], ['channel' => 'private-a'], ['socket' => $one->socketId]] as $where) {
                self::assertSame([$one->socketId], array_column($asked->connections($where), 'socket_id'));
            }
            self::assertSame([], $asked->connections(['user' => 7, 'socket' => $two->socketId]));
        }
    }

    public function testKickAndUnsubscribeFromAnotherProcess(): void
    {
        $gateway = $this->gateway();
        $clients = [];
        foreach ([1, 2, 3] as $user) {
            $clients[$user] = $this->client($gateway);
            $clients[$user]->subscribe('presence-room', ['user_id' => $user]);
            $clients[$user]->subscribe('private-a');
        }
        $remote = $this->remote($gateway);
        self::assertSame(1, $remote->unsubscribe(['user' => '3'], 'private-a'));
        $clients[3]->event('pusher:subscription_error', 'private-a');
        self::assertSame(1, $remote->kick(['user' => 1]));
        self::assertSame(4009, $clients[1]->socket->closed()[0] ?? null);
        $clients[2]->event('pusher_internal:member_removed', 'presence-room');
        self::assertSame(1, $remote->kick(['channel' => 'private-a']), 'user 3 is on it no more');
        self::assertSame(4009, $clients[2]->socket->closed()[0] ?? null);
        self::assertSame(0, $remote->kick(['user' => 'nobody']));
        self::assertSame(1, $remote->kick(['socket' => $clients[3]->socketId]));
    }

    public function testOverTwoGateways(): void
    {
        [$one, $two] = [$this->gateway(), $this->gateway()];
        $client = $this->client($two);
        $client->subscribe('presence-room', ['user_id' => 7]);
        self::eventually(fn () => count($one->connections()) === 1, 'one sees the sockets of the other', 20.0);
        self::assertSame(1, $one->kick(['user' => '7']));
        self::assertSame(4009, $client->socket->closed()[0] ?? null);
    }

    public function testATargetIsRequired(): void
    {
        $gateway = new Gateway($this->settings());
        foreach ([[], ['user' => ''], ['users' => '7'], ['socket' => '12']] as $where) {
            try {
                $gateway->kick($where);
                self::fail('kicked');
            } catch (ConfigurationException $e) {
                self::assertStringContainsString('Gateway::kick()', $e->getMessage());
            }
        }
        $this->expectException(InvalidChannelException::class);
        $gateway->unsubscribe(['user' => 7], "a\nb");
    }

    public function testNoGatewayAndAWrongSecretAreReported(): void
    {
        $unreachable = new Gateway($this->settings(['api_listen' => '127.0.0.1:1']));
        try {
            $unreachable->connections();
            self::fail('answered');
        } catch (ConnectionException $e) {
            self::assertStringContainsString('No gateway responds at 127.0.0.1:1', $e->getMessage());
        }
        $gateway = $this->gateway();
        $wrong = ['api_listen' => $gateway->address(), 'secrets' => [bin2hex(random_bytes(16))]];
        $this->expectException(ConnectionException::class);
        $this->expectExceptionMessage('same app id, key and secret');
        (new Gateway($this->settings($wrong)))->kick(['user' => 7]);
    }

    public function testTheConnectionsCommand(): void
    {
        $gateway = $this->gateway();
        [$one, $two] = [$this->client($gateway), $this->client($gateway)];
        $one->subscribe('presence-b', ['user_id' => 7]);
        $api = "--api={$gateway->address()}";
        $text = $this->console("realtime:gateway:connections $api")->assertExit()->stdout;
        self::assertStringContainsString($one->socketId, $text);
        self::assertStringContainsString('2 connections.', $text);
        foreach (['--user=7', '--channel=presence-b', "--socket=$one->socketId"] as $which) {
            $lines = $this->console("realtime:gateway:connections $api $which --json")->assertExit()->lines();
            self::assertCount(1, $lines, $which);
            self::assertSame($one->socketId, json_decode($lines[0], true)['socket_id']);
        }
        $none = $this->console("realtime:gateway:connections $api --user=8")->assertExit();
        self::assertSame(['0 connections.'], $none->lines());
        self::assertFalse($two->socket->hasEnded());
    }

    public function testTheKickCommand(): void
    {
        $gateway = $this->gateway();
        $api = "--api={$gateway->address()}";
        foreach (['--user=7', '--channel=presence-b', '--socket='] as $i => $which) {
            $client = $this->client($gateway);
            $client->subscribe('presence-b', ['user_id' => 7]);
            $which .= $i === 2 ? $client->socketId : '';
            $result = $this->console("realtime:gateway:kick $api $which" . ($i === 1 ? ' --json' : ''))->assertExit();
            self::assertSame([$i === 1 ? '{"closed":1}' : '1 connection closed.'], $result->lines());
            self::assertSame(4009, $client->socket->closed()[0] ?? null);
        }
    }

    public function testTheUnsubscribeCommand(): void
    {
        $gateway = $this->gateway();
        $api = "--api={$gateway->address()}";
        $clients = [];
        foreach ([1, 2, 3, 4] as $user) {
            $clients[$user] = $this->client($gateway);
            $clients[$user]->subscribe('presence-b', ['user_id' => $user]);
        }
        $run = fn (string $more) => $this->console("realtime:gateway:unsubscribe presence-b $api $more")->assertExit();
        self::assertSame(['1 subscription ended.'], $run('--user=1')->lines());
        $clients[1]->event('pusher:subscription_error', 'presence-b');
        self::assertSame(['{"ended":1}'], $run("--json --socket={$clients[2]->socketId}")->lines());
        $clients[2]->event('pusher:subscription_error', 'presence-b');
        self::assertSame(['2 subscriptions ended.'], $run('')->lines());
        self::assertFalse($clients[4]->socket->hasEnded(), 'the connection stays');
    }

    public function testTheAddressComesFromTheConfiguration(): void
    {
        $gateway = $this->gateway();
        [$host, $port] = explode(':', $gateway->address());
        $this->configure("['gateway' => ['host' => '$host', 'port' => $port]]");
        self::assertSame(['0 connections.'], $this->console('realtime:gateway:connections')->assertExit()->lines());
    }

    /** @dataProvider wrong */
    #[DataProvider('wrong')]
    public function testWrongUsageIsExitCode2AndNoGatewayIs1(string $arguments, int $code, string $says): void
    {
        $result = $this->console("realtime:gateway:$arguments")->assertExit($code);
        self::assertStringContainsString($says, $result->stderr);
    }

    /** @return array<string, array{string, int, string}> */
    public static function wrong(): array
    {
        return [
            'nobody' => ['kick', 2, 'One of --user, --socket or --channel is required'],
            'no socket id' => ['kick --socket=12', 2, '--socket'],
            'an empty user' => ['kick --user=', 2, '--user needs a value'],
            'no port' => ['connections --api=127.0.0.1', 2, 'has no port'],
            'no channel' => ['unsubscribe', 2, 'from'],
            'no such channel' => ['unsubscribe a:b --user=7', 2, 'is not a valid socket channel'],
            'not there' => ['connections --api=127.0.0.1:1', 1, 'No gateway responds at 127.0.0.1:1'],
        ];
    }
}
