<?php

/**
 * The polyfills give way to a framework, whether its helpers are loaded before ours or after.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Polyfill;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Toporia\Realtime\Tests\Support\RunsPhp;

final class FrameworkHelpersEmbeddedTest extends TestCase
{
    use RunsPhp;

    private const FUNCTIONS = ['realtime', 'broadcast', 'config', 'env', 'logger'];

    /** Defines the framework's helpers as frameworks do: each guarded. */
    private const HELPERS = <<<'PHP'
        foreach (['realtime', 'broadcast', 'config', 'env', 'logger'] as $name) {
            if (!function_exists($name)) {
                eval("function $name(...\$arguments) { return 'framework'; }");
            }
        }
        PHP;

    /** @return array<string, array{0: string, 1: string}> */
    public static function frameworks(): array
    {
        return [
            'Toporia, its helpers after Composer\'s files' => ['Toporia\Framework\Realtime\RealtimeManager', 'after'],
            'Toporia, its helpers before' => ['Toporia\Framework\Realtime\RealtimeManager', 'before'],
            'Laravel, its helpers after Composer\'s files' => ['Illuminate\Foundation\Application', 'after'],
            'Laravel, its helpers before' => ['Illuminate\Foundation\Application', 'before'],
        ];
    }

    /** @dataProvider frameworks */
    #[DataProvider('frameworks')]
    public function testTheFrameworksFunctionsAreCalled(string $class, string $when): void
    {
        $functions = $this->functions(
            self::autoloading($class) . ($when === 'before' ? self::HELPERS : ''),
            $when === 'after' ? self::HELPERS : ''
        );
        self::assertEquals(array_fill_keys(self::FUNCTIONS, 'framework'), $functions);
    }

    public function testWithoutAFrameworkOursAreCalled(): void
    {
        $functions = $this->functions('', self::HELPERS);
        self::assertEquals(array_fill_keys(self::FUNCTIONS, 'ours'), $functions);
    }

    public function testTheApplicationsOwnFunctionWins(): void
    {
        $functions = $this->functions('function config() { return "framework"; }', '');
        self::assertEquals(['config' => 'framework'] + array_fill_keys(self::FUNCTIONS, 'ours'), $functions);
    }

    public function testTheyCanBeDisabled(): void
    {
        $functions = $this->functions('', self::HELPERS, ['REALTIME_POLYFILLS' => 'off']);
        self::assertEquals(array_fill_keys(self::FUNCTIONS, 'framework'), $functions);
    }

    public function testALaravelLoadedLaterGetsTheArgumentsOfItsHelpers(): void
    {
        $laravel = getenv('REALTIME_TEST_LARAVEL') ?: '/usr/share/php/Illuminate/autoload.php';
        $result = $this->runPhp(
            $this->load() . '$before = config("app.name", "nothing");
            require ' . var_export($laravel, true) . ';
            $spy = new class {
                public array $calls = [];
                public function __call(string $name, array $arguments): string
                {
                    $this->calls[] = [$name, ...$arguments];
                    return "asked";
                }
            };
            $app = new Illuminate\Foundation\Application("/nowhere");
            $app->instance("config", new Illuminate\Config\Repository(["app" => ["name" => "Shop"]]));
            $app->instance("log", $spy);
            $app->instance(Illuminate\Contracts\Broadcasting\Factory::class, $spy);
            $_ENV["REALTIME_X"] = "(true)";
            config(["app.debug" => true]);
            $fake = Toporia\Realtime\Realtime::fake();
            broadcast(channel: "user.1", event: "paid", data: 1);
            $fake->assertBroadcast("user.1", "paid");
            broadcast((object) ["id" => 7]);
            logger("text", ["a" => 1]);
            echo json_encode([
                $before, config("app.name"), config("app.none", 5), config()->get("app.debug"), env("REALTIME_X"),
                logger() === $spy, $spy->calls,
            ]);',
            ['layer' => false, 'ini' => ['error_reporting' => (string) (E_ALL & ~E_DEPRECATED)]]
        );
        self::assertSame(
            ['nothing', 'Shop', 5, true, true, true, [['event', ['id' => 7]], ['debug', 'text', ['a' => 1]]]],
            $result->json(),
            $result->describe()
        );
    }

    public function testArgumentsOfLaravelOnlyAreRefusedElsewhere(): void
    {
        $result = $this->runPhp($this->load() . '
            foreach ([fn () => broadcast(), fn () => broadcast(new stdClass()), fn () => config()] as $call) {
                try {
                    $call();
                } catch (Throwable $e) {
                    echo get_class($e), ": ", $e->getMessage(), "\n";
                }
            }', ['layer' => false]);
        self::assertSame([
            'TypeError: broadcast(): Argument #1 ($channel) must be of type string, null given',
            'TypeError: broadcast(): Argument #1 ($channel) must be of type string, stdClass given',
            'Toporia\Realtime\Exception\ConfigurationException: config() reads one value of config/*.php, by its name: '
                . "config('realtime.default_broker').",
        ], $result->lines());
    }

    public function testClassesOfTheFrameworkWinOverOurs(): void
    {
        $result = $this->runPhp(
            self::autoloading('Toporia\Framework\Console\Command')
            . $this->load()
            . '$files = [];
            foreach (["Console\Command", "Realtime\Message", "Realtime\Contracts\BrokerInterface"] as $class) {
                $reflection = new ReflectionClass("Toporia\Framework\\\\" . $class);
                $files[] = str_contains((string) $reflection->getFileName(), "Polyfill") ? "ours" : "framework";
            }
            echo json_encode($files);',
            ['layer' => false]
        );
        self::assertSame(['framework', 'ours', 'ours'], $result->json());
    }

    public function testNothingOfTheFrameworkIsLoadedUnlessItIsUsed(): void
    {
        $result = $this->runPhp(
            self::autoloading('Toporia\Framework\Realtime\RealtimeManager') . $this->load()
            . 'echo json_encode(array_values(array_filter(
                [...get_declared_classes(), ...get_declared_interfaces()],
                static fn (string $name): bool => str_starts_with($name, "Toporia\\\\Framework")
                    && !str_ends_with($name, "RealtimeManager")
            )));',
            ['layer' => false]
        );
        self::assertSame([], $result->json());
    }

    /**
     * The owner of each function, when our files are loaded between the two pieces of code.
     *
     * @param array<string, string> $env
     *
     * @return array<string, string>
     */
    private function functions(string $before, string $after, array $env = []): array
    {
        $report = '$answers = [];
            foreach ' . '(' . var_export(self::FUNCTIONS, true) . ' as $name) {
                $file = (string) (new ReflectionFunction($name))->getFileName();
                $answers[$name] = str_contains($file, "Polyfill/helpers.php") ? "ours" : "framework";
            }
            echo json_encode($answers);';
        $options = ['layer' => false, 'env' => $env];

        return $this->runPhp("$before;\n" . $this->load() . "$after\n$report", $options)->json();
    }

    private function load(): string
    {
        return 'require ' . var_export(self::root() . '/php/autoload.php', true) . ";\n";
    }

    /** An autoloader for one class of a framework. */
    private static function autoloading(string $class): string
    {
        $cut = (int) strrpos($class, '\\');
        $code = sprintf('namespace %s; class %s {}', substr($class, 0, $cut), substr($class, $cut + 1));

        return sprintf(
            'spl_autoload_register(function (string $class): void { if ($class === %s) { eval(%s); } });',
            var_export($class, true),
            var_export($code, true)
        );
    }
}
