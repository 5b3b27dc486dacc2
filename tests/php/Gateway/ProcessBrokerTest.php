<?php

/**
 * The gateway inside the PHP process: slow callbacks, fatal errors, exit, fork, signals.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Gateway;

use PHPUnit\Framework\Attributes\DataProvider;
use Toporia\Realtime\Tests\Support\ChildProcess;
use Toporia\Realtime\Tests\Support\PusherClient;

final class ProcessBrokerTest extends GatewayTestCase
{
    /**
     * A child with a gateway, and a browser connected to it.
     *
     * @return array{ChildProcess, PusherClient}
     */
    private function child(string $code): array
    {
        $child = $this->startPhp(<<<PHP
            \$gateway = (new Toporia\Realtime\Gateway())->start();
            echo "at {\$gateway->address()}\\n";
            $code
            PHP, ['ini' => ['memory_limit' => '64M']]);

        return [$child, $this->client($child->waitForOutput('/at (\S+:\d+)/')[1])];
    }

    public function testASlowCallbackDelaysNoSocket(): void
    {
        $this->createTopic($this->channelTopic('slow.1'));
        $this->createTopic($this->channelTopic('quick.1'));
        [$child, $client] = $this->child(<<<'PHP'
            $broker = Realtime::broker();
            $broker->subscribe('slow.1', function () { echo "asleep\n"; sleep(3); echo "awake\n"; });
            $broker->onAssigned(function () { echo "assigned\n"; });
            $broker->consume(100, 100, 1);
            PHP);
        $child->waitForOutput('/assigned/', 20.0);
        $client->subscribe('private-quick.1');
        $this->broadcast('quick.1', 'warm');
        $client->event('warm', null, 20.0);
        $this->broadcast('slow.1', 'work');
        $child->waitForOutput('/asleep/', 20.0);
        $took = [];
        for ($i = 0; $i < 10; $i++) {
            $sent = microtime(true);
            $this->broadcast('quick.1', "quick-$i", $i);
            $took[] = $client->event("quick-$i")['at'] - $sent;
        }
        self::assertStringNotContainsString('awake', $child->stdout(), 'all of it while the callback slept');
        sort($took);
        self::assertLessThan(0.3, $took[5], 'median of broadcast to frame');
        self::assertLessThan(1.5, $took[9]);
        $child->wait()->assertExit();
    }

    /** @dataProvider ends */
    #[DataProvider('ends')]
    public function testHoweverPhpExitsClientsReceiveARequestToReconnect(string $code, int $exit): void
    {
        [$child, $client] = $this->child("while (\$gateway->stats()['connections'] === 0) { usleep(5000); } $code");
        self::assertSame(4200, $client->socket->closed(10.0)[0] ?? null);
        $result = $child->wait(10.0)->assertExit($exit);
        self::assertLessThan(6.0, $result->seconds);
    }

    /** @return array<string, array{string, int}> */
    public static function ends(): array
    {
        return [
            'the end of the script' => ['', 0],
            'exit' => ['exit(3);', 3],
            'an exception' => ['throw new Exception("no");', 255],
            'a fatal error' => ['$x = str_repeat("x", 100 << 20);', 255],
            'endless recursion' => [
                '$f = function ($f) { $f($f); }; $f($f);', 255,
            ],
            'forgotten' => ['unset($gateway);', 0],
        ];
    }

    public function testAFatalErrorInACallbackStopsTheGatewayCleanly(): void
    {
        $this->createTopic($this->channelTopic('order.1'));
        [$child, $client] = $this->child(<<<'PHP'
            Realtime::broker()->subscribe('order.1', fn () => str_repeat('x', 100 << 20));
            Realtime::broker()->consume(100);
            PHP);
        $this->broadcast('order.1', 'boom');
        self::assertSame(4200, $client->socket->closed(25.0)[0] ?? null);
        $child->wait(15.0)->assertExit(255);
    }

    public function testSigtermDrainsAndExitsWithZero(): void
    {
        [$child, $client] = $this->child(<<<'PHP'
            $gateway->wait(0);
            echo "waiting\n";
            while (!$gateway->wait(100));
            echo "stopping\n";
            $gateway->stop(2000);
            echo "done\n";
            PHP);
        $child->waitForOutput('/waiting/');
        $child->signal();
        self::assertSame(4200, $client->socket->closed(10.0)[0] ?? null);
        $result = $child->wait(10.0)->assertExit();
        self::assertSame(['waiting', 'stopping', 'done'], array_slice($result->lines(), 1));
    }

    public function testASignalBeforeTheFirstPollEndsTheConsumer(): void
    {
        $this->createTopic($this->channelTopic('order.1'));
        [$child, $client] = $this->child(<<<'PHP'
            $gateway->wait(0);
            Realtime::broker()->subscribe('order.1', fn () => null);
            while ($gateway->stats()['connections'] === 0) usleep(5000);
            posix_kill(getmypid(), SIGTERM);
            Realtime::broker()->consume(100);
            echo "stopped by ", Realtime::broker()->stats()['stop_reason'], "\n";
            $gateway->stop(2000);
            PHP);
        self::assertSame(4200, $client->socket->closed(15.0)[0] ?? null);
        self::assertSame('stopped by signal', $child->wait(10.0)->assertExit()->lines()[1]);
    }

    public function testAHandlerOfPhpRunsWhileItWaits(): void
    {
        [$child] = $this->child(<<<'PHP'
            pcntl_async_signals(true);
            $seen = 0;
            pcntl_signal(SIGTERM, function () use (&$seen) { $seen++; echo "handled\n"; });
            echo "waiting\n";
            while ($seen === 0 && !$gateway->wait(200));
            echo $seen, ' ', var_export($gateway->isRunning(), true), "\n";
            PHP);
        $child->waitForOutput('/waiting/');
        $child->signal();
        $result = $child->wait(10.0)->assertExit();
        self::assertSame(['waiting', 'handled', '1 true'], array_slice($result->lines(), 1));
    }

    public function testAForkedChildLeavesTheParentsGatewayAlone(): void
    {
        [$child, $client] = $this->child(<<<'PHP'
            $pid = pcntl_fork();
            if ($pid === 0) {
                $says = [var_export($gateway->isRunning(), true)];
                foreach (['stop', 'address', 'stats', 'connections', 'start', 'wait'] as $method) {
                    try {
                        $gateway->$method();
                        $says[] = $method;
                    } catch (Toporia\Realtime\Exception\ConnectionException $e) {
                        $says[] = str_contains($e->getMessage(), 'forked') ? 'forked' : $e->getMessage();
                    }
                }
                unset($gateway);
                echo implode(',', $says), "\n";
                exit(0);
            }
            pcntl_waitpid($pid, $status);
            echo 'child ', pcntl_wifexited($status) ? pcntl_wexitstatus($status) : 'signal', "\n";
            $gateway->wait(1);
            echo 'reached ', $gateway->broadcastLocally('private-a', 'after', 1), "\n";
            $gateway->wait(10000);
            PHP);
        $client->subscribe('private-a');
        $lines = $child->waitForOutput('/child \d+\nreached \d/', 15.0);
        self::assertStringContainsString("false,forked,forked,forked,forked,forked,forked\n", $child->stdout());
        self::assertStringStartsWith("child 0\n", $lines[0]);
        self::assertTrue($child->isRunning());
        self::assertFalse($client->socket->hasEnded(), 'the child has not closed the parent\'s sockets');
        $child->signal()->wait(10.0)->assertExit();
    }

    public function testAForkedChildMayHaveItsOwnGateway(): void
    {
        $child = $this->startPhp(<<<'PHP'
            $first = (new Toporia\Realtime\Gateway())->start();
            if (pcntl_fork() === 0) {
                $own = (new Toporia\Realtime\Gateway())->start();
                echo "at {$own->address()}\n";
                $own->wait(20000);
                $own->stop(0);
                exit(0);
            }
            pcntl_wait($status);
            echo 'status ', pcntl_wexitstatus($status), "\n";
            PHP);
        $address = $child->waitForOutput('/at (\S+)/')[1];
        $client = $this->client($address);
        $client->subscribe('private-a');
        $this->broadcast('a', 'hello', 1);
        self::assertSame(1, $client->event('hello', null, 20.0)['data']);
        posix_kill($this->onlyChildOf($child->pid()), SIGTERM);
        self::assertSame('status 0', array_slice($child->wait(15.0)->assertExit()->lines(), -1)[0]);
    }

    private function onlyChildOf(int $pid): int
    {
        $children = trim((string) file_get_contents("/proc/$pid/task/$pid/children"));
        self::assertMatchesRegularExpression('/\A\d+\z/', $children);

        return (int) $children;
    }

    public function testStartingAndStoppingLeaksNothing(): void
    {
        $result = $this->runPhp(<<<'PHP'
            $gateway = new Toporia\Realtime\Gateway();
            for ($i = 0; $i < 20; $i++) {
                $gateway->start()->stop(0);
            }
            $threads = count((array) glob('/proc/self/task/*'));
            $files = count((array) glob('/proc/self/fd/*'));
            for ($i = 0; $i < 20; $i++) {
                $gateway->start()->stop(0);
            }
            echo json_encode([
                count((array) glob('/proc/self/task/*')) - $threads,
                count((array) glob('/proc/self/fd/*')) - $files,
            ]);
            PHP, ['timeout' => 60.0])->json();
        self::assertLessThanOrEqual(2, $result[0], 'threads');
        self::assertLessThanOrEqual(2, $result[1], 'file descriptors');
    }
}
