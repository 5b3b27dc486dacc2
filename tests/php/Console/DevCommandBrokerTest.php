<?php

/**
 * realtime:kafka:dev: a broker that other processes can reach, until a signal.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Console;

use PHPUnit\Framework\Attributes\DataProvider;
use Toporia\Realtime\Tests\Support\ChildProcess;

final class DevCommandBrokerTest extends ConsoleTestCase
{
    /** @dataProvider signals */
    #[DataProvider('signals')]
    public function testOtherProcessesSendAndReceiveThroughItUntilASignal(int $signal): void
    {
        [$dev, $address] = $this->dev("--port=0 --topic={$this->channelTopic('user.1')}:3");
        $env = ['env' => ['KAFKA_BROKERS' => $address]];
        $this->console('realtime:kafka:publish user.1 paid {"id":7}', $env)->assertExit();
        $report = $this->consume('--channels=user.1 --stop-when-empty', $env);
        self::assertSame(['paid'], $report->events(), $report->result->describe());
        $partitions = $report->of('assigned')[0]['partitions'];
        self::assertCount(3, array_unique(array_column($partitions, 'partition')), 'as many as --topic requested');
        $result = $dev->signal($signal)->wait();
        $result->assertExit();
        self::assertStringContainsString('Stopped.', $result->stdout);
    }

    /** @return array<string, array{int}> */
    public static function signals(): array
    {
        return ['Ctrl-C' => [2], 'SIGTERM' => [15]];
    }

    public function testAPortInUseIsNamed(): void
    {
        [, $address] = $this->dev('--port=0');
        $port = (int) substr((string) strrchr($address, ':'), 1);
        $result = $this->console("realtime:kafka:dev --port=$port")->assertExit(1);
        self::assertStringContainsString((string) $port, $result->stderr);
        self::assertStringContainsString('in use', $result->stderr);
    }

    public function testHostAndPortAreTheRequestedOnes(): void
    {
        // A port that was free a moment ago.
        $socket = stream_socket_server('tcp://127.0.0.1:0');
        assert($socket !== false);
        $port = substr((string) strrchr((string) stream_socket_get_name($socket, false), ':'), 1);
        fclose($socket);
        [, $address] = $this->dev("--host=127.0.0.1 --port=$port");
        self::assertSame("127.0.0.1:$port", $address);
    }

    public function testAForeignAddressIsAnError(): void
    {
        $result = $this->console('realtime:kafka:dev --host=192.0.2.1 --port=0')->assertExit(1);
        self::assertStringContainsString('192.0.2.1', $result->stderr);
    }

    /** @return array{ChildProcess, string} */
    private function dev(string $arguments): array
    {
        $arguments = ['realtime:kafka:dev', ...explode(' ', $arguments)];
        $dev = $this->startConsole($arguments, ['cwd' => $this->app]);

        return [$dev, $dev->waitForOutput('/listens on (\S+:\d+)/')[1]];
    }
}
