<?php

/**
 * The provider in both generations: configuration, helper functions, and our commands in the framework's console.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Toporia;

use PHPUnit\Framework\Assert;
use PHPUnit\Framework\Attributes\DataProvider;
use Toporia\Realtime\Tests\Support\ChildProcess;
use Toporia\Realtime\Tests\Support\DoctorReport;
use Toporia\Realtime\Tests\Support\ProcessResult;

final class ProviderBrokerTest extends ToporiaTestCase
{
    /** Boots an application with the provider; its configuration in $config, its manager in $manager. */
    private const BOOT = '
        use Toporia\Framework\Console\Application;
        use Toporia\Framework\Container\Container;
        use Toporia\Framework\Realtime\Contracts\RealtimeManagerInterface;
        use Toporia\Realtime\Toporia\RealtimeServiceProvider;
        $container = new Container();
        $container->instance("config", new class ($config) {
            public function __construct(private array $realtime)
            {
            }

            public function get(string $key, mixed $default = null): mixed
            {
                return $key === "realtime" ? $this->realtime : $default;
            }
        });
        $container->instance(RealtimeManagerInterface::class, $manager);
        $console = new Application($container);
        $container->instance(Application::class, $console);
        $provider = new RealtimeServiceProvider();
        $provider->register($container);
        $provider->boot($container);
        ';

    /** @dataProvider generations */
    #[DataProvider('generations')]
    public function testRealtimeAndTheHelpersUseTheFrameworksConfiguration(string $generation): void
    {
        $this->boot($generation, '
            realtime()->broadcast("user.1", "by.manager", 1);
            broadcast("user.1", "by.function", 2);
            Realtime::broadcast("user.1", "by.class", 3);
            Toporia\Realtime\broadcast("user.1", "by.namespace", 4);
        ')->wait()->assertExit();
        self::assertSame(
            ['by.manager', 'by.function', 'by.class', 'by.namespace'],
            array_column($this->envelopes("$this->prefix.user", 4), 'event')
        );
    }

    /** @dataProvider generations */
    #[DataProvider('generations')]
    public function testTheWorkerBroadcastsToLocalClientsAndNotToKafkaAgain(string $generation): void
    {
        $result = $this->console($generation, 'realtime:kafka:consume --channels=user.1 --channels user.2 --stop-when-empty', '
            Realtime::broadcast("user.1", "one", ["a" => 1]);
            Realtime::broadcast("user.2", "two", ["a" => 2]);
            Realtime::flush();
        ', 'sort($manager->local); echo json_encode($manager->local), "\n";')->assertExit();
        self::assertStringContainsString('broadcast by the framework', $result->stdout);
        $lines = $result->lines();
        self::assertSame('["user.1 one","user.2 two"]', end($lines), $result->describe());
        self::assertCount(2, $this->envelopes("$this->prefix.user", 2));
    }

    /** @dataProvider generations */
    #[DataProvider('generations')]
    public function testAHandlerIsCreatedByTheContainerAndItsRebroadcastsStayLocal(string $generation): void
    {
        $result = $this->console(
            $generation,
            'realtime:kafka:consume --channels=user.1 --handler=Handler --max-messages=2 --json',
            'final class Handler
            {
                public function handle(Toporia\Realtime\Message $message): void
                {
                    echo "handled {$message->getEvent()}\n";
                    realtime()->broadcast($message->getChannel(), $message->getEvent(), $message->getData());
                    realtime()->broadcast("done.1", $message->getEvent(), null);
                }
            }
            Realtime::broadcast("user.1", "one", ["a" => 1]);
            Realtime::broadcast("user.1", "two", ["a" => 2]);
            Realtime::flush();'
        )->assertExit();
        self::assertStringContainsString("handled one\n", $result->stdout);
        self::assertCount(2, $this->envelopes("$this->prefix.user", 2));
        self::assertSame(['one', 'two'], array_column($this->envelopes("$this->prefix.default", 2), 'event'));
    }

    /** @return array<string, array{string, list<string>}> */
    public static function frameworkOptions(): array
    {
        return [
            '--all' => ['--all --dlq-enabled', ['user.1 one', 'user.2 two']],
            '--topic' => ['--topic=user.2', ['user.2 two']],
            '--channels wins' => ['--channels=user.1 --all --topic=user.2', ['user.1 one']],
        ];
    }

    /**
     * @dataProvider frameworkOptions
     *
     * @param list<string> $expected
     */
    #[DataProvider('frameworkOptions')]
    public function testOptionsOfTheFrameworksOwnCommandAreAccepted(string $options, array $expected): void
    {
        $result = $this->console('Newer', "realtime:kafka:consume $options --stop-when-empty", '
            Realtime::broadcast("user.1", "one", ["a" => 1]);
            Realtime::broadcast("user.2", "two", ["a" => 2]);
            Realtime::flush();
        ', 'sort($manager->local); echo json_encode($manager->local), "\n";')->assertExit();
        $lines = $result->lines();
        // --all also receives the mapped topics of other tests on a shared Kafka.
        $local = array_values(preg_grep('/^user\./', json_decode((string) end($lines), true)) ?: []);
        self::assertSame($expected, $local, $result->describe());
    }

    /** @dataProvider generations */
    #[DataProvider('generations')]
    public function testWrongUsageIsExitCodeTwo(string $generation): void
    {
        $result = $this->console($generation, 'realtime:kafka:consume', '');
        self::assertSame(2, $result->exitCode, $result->describe());
        self::assertStringContainsString('--channels', $result->stderr);
        self::assertSame(0, $this->console($generation, 'realtime:kafka:publish user.1 hello {"a":1}', '')->exitCode);
        self::assertSame(['a' => 1], $this->envelopes("$this->prefix.user")[0]['data']);
    }

    public function testACommandCanBeCalledByAnother(): void
    {
        $result = $this->boot('Newer', '
            $command = new Toporia\Realtime\Toporia\Commands\PublishCommand();
            $command->setInput(new class {
                public function getArguments(): array
                {
                    return ["user.1", "called", "[1]"];
                }

                public function getOptions(): array
                {
                    return ["key" => 7, "no-interaction" => true];
                }
            });
            $command->setOutput(new class {
                public function write(string $text): void
                {
                    echo "[" . trim($text) . "]";
                }
            });
            exit($command->handle());
        ')->wait()->assertExit();
        self::assertStringStartsWith('[', $result->stdout);
        [$record] = $this->consumeAll("$this->prefix.user", 1);
        self::assertSame(['7', [1]], [$record->getKey(), json_decode((string) $record->getPayload(), true)['data']]);
    }

    public function testAnApplicationThatDefaultsToRedisStillSendsThroughKafka(): void
    {
        $this->boot('Newer', 'Realtime::broadcast("user.1", "e", 1);', '$config["default_broker"] = "redis";')
            ->wait()->assertExit();
        self::assertCount(1, $this->envelopes("$this->prefix.user"));
        $this->boot('Newer', 'echo "booted";', 'unset($config["brokers"]["kafka"]);')->wait()->assertExit();
    }

    public function testAnUnknownKeyOfTheFrameworkBreaksNoPage(): void
    {
        $result = $this->boot(
            'Newer',
            'Realtime::broadcast("user.1", "e", 1);',
            '$config["hologram"] = ["enabled" => true];',
            ['ini' => ['log_errors' => '1']]
        )->wait()->assertExit();
        self::assertStringContainsString("Unknown setting 'hologram'", $result->stderr);
        self::assertCount(1, $this->envelopes("$this->prefix.user"));

        $result = $this->boot('Newer', '', '$config["brokers"]["kafka"]["topic_prefx"] = "x";')->wait();
        self::assertNotSame(0, $result->exitCode);
        self::assertStringContainsString("Did you mean 'topic_prefix'?", $result->stderr);
    }

    public function testEveryCommandOfTheConsoleExistsWithItsDescription(): void
    {
        [$console, $ours] = $this->boot('Newer', '
            $application = new Toporia\Realtime\Console\Application(Toporia\Realtime\Toporia\ToporiaHost::current());
            $console = $ours = [];
            foreach ($application->all() as $name => $command) {
                $console += str_starts_with($name, "realtime:") ? [$name => $command->getDescription()] : [];
            }
            foreach (Toporia\Realtime\Toporia\DropIn::commands() as $class) {
                $command = new $class();
                $ours[$command->getName()] = $command->getDescription();
            }
            ksort($console);
            ksort($ours);
            echo json_encode([$console, $ours]);
        ')->wait()->json();
        Assert::assertSame($console, $ours, 'They are in php/Console/CommandList.php.');
    }

    /** @dataProvider generations */
    #[DataProvider('generations')]
    public function testStartingTheConsoleLoadsNoCommand(string $generation): void
    {
        $code = 'echo json_encode(class_exists(Symfony\Component\Console\Command\Command::class, false));';
        self::assertFalse($this->boot($generation, $code)->wait()->json());
    }

    /** @dataProvider generations */
    #[DataProvider('generations')]
    public function testTheDoctorChecksTheFrameworksConfigurationEvenIfItIsRefused(string $generation): void
    {
        $report = new DoctorReport($this->console($generation, 'realtime:doctor --json', ''));
        self::assertNotContains('error', $report->levels('configuration'), $report->result->describe());
        $report->expect('ok', 'client', '/connects as the application does/');
        $run = '$status = $console->run($_SERVER["argv"]); exit($status);';
        $options = ['args' => ['realtime:doctor', '--json']];
        $wrong = '$config["brokers"]["kafka"]["topic_prefx"] = "x";';
        $report = new DoctorReport($this->boot($generation, $run, $wrong, $options)->wait(40.0));
        $report->expect('error', 'configuration', "/unknown setting 'topic_prefx' in realtime\\.brokers\\.kafka/", "/'topic_prefix'/");
        self::assertSame(1, $report->result->exitCode);
        $options = ['args' => ['app:report', 'realtime:doctor']];
        $result = $this->boot($generation, $run, $wrong, $options)->wait(40.0);
        self::assertStringContainsString("Unknown setting 'topic_prefx'", $result->stderr . $result->stdout);
        self::assertNotSame(0, $result->exitCode);
    }

    /** @param array<string, mixed> $options */
    private function boot(string $generation, string $code, string $before = '', array $options = []): ChildProcess
    {
        // `use` has to be at the top, before the code that changes the configuration.
        preg_match_all('/^\s*use .*;$/m', self::BOOT, $uses);
        $boot = preg_replace('/^\s*use .*;$/m', '', self::BOOT);

        return $this->startToporia($generation, implode('', $uses[0]) . "\n$before\n$boot\n$code", [], $options);
    }

    /** Runs a command line in the framework's console, `php console …`. */
    private function console(string $generation, string $line, string $code, string $after = ''): ProcessResult
    {
        $words = explode(' ', $line);

        return $this->boot(
            $generation,
            "$code\n\$status = \$console->run(\$_SERVER['argv']);\n$after\nexit(\$status);",
            '',
            ['args' => $words]
        )->wait(40.0);
    }
}
