<?php

/**
 * realtime:install on applications as Laravel's versions lay them out.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Laravel;

final class InstallEmbeddedTest extends LaravelTestCase
{
    public function testItAddsMissingPartsAndChangesNothingTheSecondTime(): void
    {
        $this->env(['APP_NAME' => 'My $hop', 'BROADCAST_DRIVER' => 'log', 'REALTIME_APP_ID' => 'mine']);
        $this->write('resources/js/bootstrap.js', "window.axios = 1;\n");
        unlink("$this->app/routes/channels.php");
        $this->write('app/Providers/AppServiceProvider.php', self::emptyProvider());
        $first = $this->artisan('realtime:install')->assertExit();
        $env = (string) file_get_contents("$this->app/.env");
        self::assertStringStartsWith("APP_NAME=\"My \$hop\"\nBROADCAST_DRIVER=kafka\nREALTIME_APP_ID=\"mine\"\n\n", $env);
        self::assertMatchesRegularExpression('/^REALTIME_APP_KEY=[0-9a-f]{20}$/m', $env);
        self::assertMatchesRegularExpression('/^REALTIME_APP_SECRET=[0-9a-f]{64}$/m', $env);
        self::assertStringContainsString("\nKAFKA_BROKERS=localhost:9092\n", $env);
        self::assertStringContainsString("\nVITE_REALTIME_APP_KEY=\"\${REALTIME_APP_KEY}\"\n", $env);
        self::assertFileEquals(self::root() . '/php/Laravel/config/realtime.php', "$this->app/config/realtime.php");
        self::assertFileExists("$this->app/routes/channels.php");
        self::assertStringContainsString("broadcaster: 'reverb'", (string) file_get_contents("$this->app/resources/js/echo.js"));
        self::assertStringEqualsFile("$this->app/resources/js/bootstrap.js", "window.axios = 1;\n\nimport './echo';\n");
        self::assertStringContainsString('Broadcast::routes()', $first->stdout, 'Nobody reads routes/channels.php yet.');
        self::assertStringNotContainsString((string) $this->secret($env), $first->stdout);

        $before = $this->contents();
        $second = $this->artisan('realtime:install')->assertExit();
        self::assertSame($before, $this->contents());
        self::assertStringContainsString('Nothing to do: everything is in place.', $second->stdout);
        // The written configuration works.
        self::assertSame(['mine', 'kafka'], $this->inApp(
            "return [config('realtime.gateway.app_id'), config('broadcasting.default')];"
        ));
    }

    public function testAnExistingBroadcastDriverIsKept(): void
    {
        $this->env(['BROADCAST_DRIVER' => 'pusher']);
        $this->write('app/Providers/AppServiceProvider.php', self::emptyProvider());
        $said = $this->artisan('realtime:install')->assertExit()->stdout;
        self::assertStringContainsString('Broadcasts still go to pusher. To send them through Kafka: BROADCAST_DRIVER=kafka', $said);
        self::assertStringContainsString("BROADCAST_DRIVER=\"pusher\"\n", (string) file_get_contents("$this->app/.env"));
    }

    public function testAnApplicationOfLaravel11AndLater(): void
    {
        // Its bootstrap file cannot run on this Laravel: only the edited text is checked.
        $this->inApp(<<<'PHP'
            unlink(base_path('config/broadcasting.php'));
            file_put_contents(base_path('.env'), "APP_NAME=Shop\n");
            file_put_contents(base_path('bootstrap/app.php'), <<<'FILE'
                <?php

                return Application::configure(basePath: dirname(__DIR__))
                    ->withRouting(
                        web: __DIR__.'/../routes/web.php',
                        commands: __DIR__.'/../routes/console.php',
                    )->create();
                FILE);
            Illuminate\Support\Facades\Artisan::call('realtime:install');
            echo Illuminate\Support\Facades\Artisan::output();
            PHP);
        $bootstrap = (string) file_get_contents("$this->app/bootstrap/app.php");
        self::assertStringContainsString(
            "->withRouting(\n        channels: __DIR__ . '/../routes/channels.php',\n",
            $bootstrap
        );
        self::assertSame(1, substr_count($bootstrap, 'channels:'));
        self::assertStringContainsString("BROADCAST_CONNECTION=kafka\n", (string) file_get_contents("$this->app/.env"));
        self::assertStringContainsString("'driver' => 'kafka'", (string) file_get_contents("$this->app/config/broadcasting.php"));
    }

    public function testAnApplicationWithLaravelMix(): void
    {
        $this->env([]);
        $this->write('webpack.mix.js', '');
        $this->artisan('realtime:install')->assertExit();
        self::assertStringContainsString("\nMIX_REALTIME_APP_KEY=", (string) file_get_contents("$this->app/.env"));
        $echo = (string) file_get_contents("$this->app/resources/js/echo.js");
        self::assertStringContainsString('key: process.env.MIX_REALTIME_APP_KEY', $echo);
        self::assertStringNotContainsString('VITE', $echo);
    }

    public function testTheProviderThatNewApplicationsHaveCommentedOut(): void
    {
        $config = (string) file_get_contents("$this->app/config/app.php");
        $this->write('config/app.php', str_replace(
            '        App\Providers\AppServiceProvider::class,',
            "        App\\Providers\\AppServiceProvider::class,\n        // App\\Providers\\BroadcastServiceProvider::class,",
            $config
        ));
        $this->artisan('realtime:install')->assertExit();
        self::assertStringContainsString(
            "\n        App\\Providers\\BroadcastServiceProvider::class,",
            (string) file_get_contents("$this->app/config/app.php")
        );
    }

    private function secret(string $env): ?string
    {
        preg_match('/^REALTIME_APP_SECRET=(.*)$/m', $env, $match);

        return $match[1] ?? null;
    }

    /** @return array<string, string> */
    private function contents(): array
    {
        $files = ['.env', 'config/realtime.php', 'config/broadcasting.php', 'routes/channels.php', 'resources/js/echo.js',
            'resources/js/bootstrap.js'];

        return array_combine($files, array_map(fn (string $f) => (string) file_get_contents("$this->app/$f"), $files));
    }

    private static function emptyProvider(): string
    {
        return <<<'PHP'
            <?php

            namespace App\Providers;

            final class AppServiceProvider extends \Illuminate\Support\ServiceProvider
            {
            }
            PHP;
    }
}
