<?php

/**
 * The console application without a broker: its commands, wrong usage, commands of the application.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Console;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use stdClass;
use Symfony\Component\Console\Tester\ApplicationTester;
use Toporia\Realtime\Console\Application;
use Toporia\Realtime\Console\PlainHost;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Realtime;

final class ApplicationUnitTest extends TestCase
{
    protected function tearDown(): void
    {
        Realtime::configure([]);
    }

    public function testItHasItsCommandsWithEveryOption(): void
    {
        $application = new Application(new PlainHost([], '/srv/app'));
        foreach (
            ['kafka:consume', 'kafka:dev', 'kafka:publish', 'restart', 'gateway', 'gateway:connections', 'gateway:kick',
            'gateway:unsubscribe'] as $name
        ) {
            $name = "realtime:$name";
            self::assertTrue($application->has($name), $name);
            self::assertNotSame('', $application->get($name)->getDescription());
        }
        $options = array_keys($application->get('realtime:kafka:consume')->getDefinition()->getOptions());
        foreach (
            ['broker', 'channels', 'batch-size', 'timeout', 'max-messages', 'stop-when-empty', 'handler', 'group',
            'from', 'max-time', 'max-memory', 'json', 'websocket', 'ws-channels', 'drain'] as $option
        ) {
            self::assertContains($option, $options);
        }
    }

    /**
     * @dataProvider wrongUsage
     *
     * @param array<string, mixed> $input
     */
    #[DataProvider('wrongUsage')]
    public function testWrongUsageIsExitCode2AndNamesTheOption(array $input, string $text): void
    {
        [$code, $output] = $this->execute($input);
        self::assertStringContainsString($text, $output);
        self::assertSame(2, $code, $output);
    }

    /** @return array<string, array{array<string, mixed>, string}> */
    public static function wrongUsage(): array
    {
        $consume = ['command' => 'realtime:kafka:consume'];
        $publish = ['command' => 'realtime:kafka:publish'];
        $dev = ['command' => 'realtime:kafka:dev'];

        return [
            'unknown command' => [['command' => 'realtime:nothing'], 'realtime:nothing'],
            'unknown option' => [$consume + ['--websockets' => true], '"--websockets" option does not exist'],
            'no channels' => [$consume, '--channels is required'],
            'channels without a value' => [$consume + ['--channels' => null], '--channels'],
            'empty channels' => [$consume + ['--channels' => ['']], "--channels='' has an empty name"],
            'a word' => [$consume + ['--channels' => ['a'], '--timeout' => 'x'], "--timeout='x' is not a whole number"],
            'negative' => [$consume + ['--channels' => ['a'], '--max-messages' => '-3'], '--max-messages=-3 is out of'],
            'bad from' => [$consume + ['--channels' => ['a'], '--from' => 'never'], "--from='never' is not valid"],
            'an argument too many' => [$consume + ['extra' => 'x'], 'extra'],
            'publish nothing' => [$publish, 'Not enough arguments'],
            'publish to a bad header' => [
                $publish + ['channel' => 'a', 'event' => 'b', 'json' => '1', '--header' => ['x']],
                "--header='x' is not name:value",
            ],
            'a port that is none' => [$dev + ['--port' => '70000'], '--port=70000 is out of range'],
            'an empty host' => [$dev + ['--host' => ''], '--host needs a value'],
            'a topic that is none' => [$dev + ['--topic' => ['a:b']], "--topic='a:b' needs a number of partitions"],
        ];
    }

    public function testCommandsOfTheApplicationAreCreatedByTheContainer(): void
    {
        $config = [
            'commands' => [Sample\ReportCommand::class],
            'bindings' => [Sample\Scalar::class => static fn () => new Sample\Scalar('from the container')],
        ];
        [$code, $output] = $this->execute(['command' => 'app:report'], $config);
        self::assertSame(0, $code, $output);
        self::assertStringContainsString('from the container', $output);
    }

    public function testAnInvalidCommandClassIsNamed(): void
    {
        $this->expectException(ConfigurationException::class);
        $this->expectExceptionMessage('commands[0] is stdClass; expected a class that extends');
        new Application(new PlainHost(['commands' => [stdClass::class]], '/srv/app'));
    }

    public function testRestartSetsTheMark(): void
    {
        $file = sys_get_temp_dir() . '/realtime-mark-' . bin2hex(random_bytes(6));
        [$code, $output] = $this->execute(['command' => 'realtime:restart'], ['restart_file' => $file]);
        self::assertSame(0, $code, $output);
        self::assertStringContainsString($file, $output);
        self::assertNotSame('', file_get_contents($file));
        unlink($file);
    }

    public function testARestartMarkThatCannotBeWrittenIsAnError(): void
    {
        [$code, $output] = $this->execute(['command' => 'realtime:restart'], ['restart_file' => '/nowhere/mark']);
        self::assertSame(2, $code);
        self::assertStringContainsString('Cannot write the restart file /nowhere/mark', $output);
    }

    /**
     * @param array<string, mixed> $input
     * @param array<string, mixed> $config
     *
     * @return array{int, string}
     */
    private function execute(array $input, array $config = []): array
    {
        $tester = new ApplicationTester(new Application(new PlainHost($config, '/srv/app')));
        $tester->run($input, ['interactive' => false, 'capture_stderr_separately' => false]);

        return [$tester->getStatusCode(), $tester->getDisplay()];
    }
}
