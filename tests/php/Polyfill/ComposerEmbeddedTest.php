<?php

/**
 * The package in Composer: autoloading in each of its modes, the binary, Laravel's package discovery.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Polyfill;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Toporia\Realtime\Tests\Support\ChildProcess;
use Toporia\Realtime\Tests\Support\LaravelApplication;
use Toporia\Realtime\Tests\Support\ProcessResult;
use Toporia\Realtime\Tests\Support\RunsPhp;

final class ComposerEmbeddedTest extends TestCase
{
    use RunsPhp;

    private const SYMFONY = '/usr/share/php/Symfony/Component/Console/autoload.php';

    private string $app;

    protected function setUp(): void
    {
        $this->app = sys_get_temp_dir() . '/realtime-composer-' . bin2hex(random_bytes(5));
    }

    protected function tearDown(): void
    {
        $this->endChildren();
        // The link first: its target is this checkout.
        @unlink("$this->app/vendor/toporia/realtime");
        is_dir($this->app) && LaravelApplication::remove($this->app);
    }

    /** @return array<string, array{0: list<string>}> */
    public static function modes(): array
    {
        return ['as it is' => [[]], 'optimized' => [['-o']], 'authoritative' => [['-a']]];
    }

    /**
     * @dataProvider modes
     *
     * @param list<string> $options
     */
    #[DataProvider('modes')]
    public function testAnApplicationInPlainPhp(array $options): void
    {
        mkdir("$this->app/config", 0700, true);
        mkdir("$this->app/src");
        file_put_contents("$this->app/src/Hello.php", <<<'PHP'
            <?php

            namespace App;

            final class Hello extends \Toporia\Framework\Console\Command
            {
                protected string $signature = 'app:hello {--to=*}';

                public function __construct(private \Toporia\Framework\Realtime\Contracts\RealtimeManagerInterface $realtime)
                {
                    parent::__construct();
                }

                public function handle(): int
                {
                    $fake = \Toporia\Realtime\Realtime::fake();
                    foreach ($this->option('to', ['user.1']) as $channel) {
                        $this->realtime->broadcast($channel, 'hello', config('realtime.default_broker'));
                    }
                    $this->line(implode(' ', array_map(fn ($m) => $m->getChannel() . $m->getData(), $fake->broadcasts())));

                    return self::SUCCESS;
                }
            }
            PHP);
        file_put_contents(
            "$this->app/config/realtime.php",
            "<?php\n\nreturn ['default_broker' => 'kafka', 'commands' => [App\\Hello::class]];\n"
        );
        $this->composerJson(['autoload' => ['psr-4' => ['App\\' => 'src/'], 'files' => [self::SYMFONY]]]);
        $install = $this->composer('install', ...$options);
        self::assertStringNotContainsString('Ambiguous', $install->stderr . $install->stdout);
        $result = $this->startScript("$this->app/vendor/bin/toporia-realtime", [
            'args' => ['app:hello', '--to=user.1,user.2'],
            'cwd' => $this->app,
        ])->wait()->assertExit();
        self::assertSame("user.1kafka user.2kafka\n", $result->stdout, $result->describe());
        $byHand = $this->runPhp(
            'require ' . var_export("$this->app/vendor/autoload.php", true)
            . '; exit((new App\Hello(realtime()))->handle());',
            ['layer' => false, 'cwd' => $this->app, 'extension' => false]
        )->assertExit();
        self::assertSame("user.1kafka\n", $byHand->stdout, $byHand->describe());
    }

    public function testLaravelDiscoversIt(): void
    {
        LaravelApplication::create($this->app);
        LaravelApplication::remove("$this->app/vendor");
        // As in the README, but from Debian's packages instead of Packagist.
        $own = json_decode((string) file_get_contents("$this->app/composer.json"), true);
        $framework = getenv('REALTIME_TEST_LARAVEL') ?: '/usr/share/php/Illuminate/autoload.php';
        $this->composerJson([
            'autoload' => $own['autoload'] + ['files' => [$framework]],
            'scripts' => $own['scripts'],
        ]);
        $install = $this->composer('install');
        self::assertMatchesRegularExpression('/toporia\/realtime/', $install->stdout, $install->describe());
        $discovered = require "$this->app/bootstrap/cache/packages.php";
        self::assertSame([
            'providers' => ['Toporia\Realtime\Laravel\RealtimeServiceProvider'],
            'aliases' => ['Realtime' => 'Toporia\Realtime\Laravel\Facades\Realtime'],
        ], $discovered['toporia/realtime']);
        file_put_contents("$this->app/.env", "APP_KEY=base64:" . base64_encode(str_repeat('k', 32)) . "\nAPP_DEBUG=true\n");
        $install = $this->artisan('realtime:install');
        self::assertStringContainsString('added    .env: KAFKA_BROKERS', $install->stdout, $install->describe());
        $this->artisan('config:cache');
        // config() of Laravel, although its helpers are loaded after Composer's files, ours among them.
        $result = $this->runPhp(
            "require '$this->app/vendor/autoload.php';
            \$app = require '$this->app/bootstrap/app.php';
            \$app->make(Illuminate\\Contracts\\Console\\Kernel::class)->bootstrap();
            \$fake = \\Realtime::fake();
            \\Realtime::broadcast('user.1', 'e', config('realtime.gateway.key'));
            echo \$fake->broadcasts()[0]->getData();",
            ['layer' => false, 'cwd' => $this->app] + self::quiet()
        );
        $env = (string) file_get_contents("$this->app/.env");
        self::assertMatchesRegularExpression('/^[0-9a-f]{20}$/', $result->stdout, $result->describe());
        self::assertStringContainsString("\nREALTIME_APP_KEY=$result->stdout\n", $env);
    }

    /** @param array<string, mixed> $more */
    private function composerJson(array $more): void
    {
        file_put_contents("$this->app/composer.json", json_encode($more + [
            'name' => 'me/app',
            'repositories' => [['packagist.org' => false], ['type' => 'path', 'url' => self::root()]],
            'require' => ['php' => '>=8.1', 'toporia/realtime' => '@dev'],
            // The packages that Debian has installed.
            'provide' => ['symfony/console' => '5.4.0', 'laravel/framework' => '8.83.0'],
        ], JSON_THROW_ON_ERROR));
    }

    private function composer(string ...$arguments): ProcessResult
    {
        $command = ['composer', ...$arguments, '--no-interaction', '--no-ansi'];
        $environment = ['COMPOSER_ALLOW_SUPERUSER' => '1', 'COMPOSER_DISABLE_NETWORK' => '1'] + getenv();
        $child = new ChildProcess($command, $environment, $this->app);

        return $child->wait(60.0)->assertExit();
    }

    private function artisan(string $command): ProcessResult
    {
        return $this->startScript("$this->app/artisan", ['args' => [$command], 'cwd' => $this->app] + self::quiet())
            ->wait()
            ->assertExit();
    }

    /** @return array<string, mixed> */
    private static function quiet(): array
    {
        return ['ini' => ['error_reporting' => (string) (E_ALL & ~E_DEPRECATED)]];
    }
}
