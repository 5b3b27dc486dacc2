<?php

declare(strict_types=1);

namespace Toporia\Realtime\Laravel\Install;

use Illuminate\Contracts\Foundation\Application;
use Toporia\Realtime\Exception\ConfigurationException;

/**
 * The steps of realtime:install; each step reports its changes. Idempotent: existing files and values are left
 * unchanged.
 */
final class Installer
{
    private const STUBS = __DIR__ . '/../stubs';

    /** @var list<string> */
    public array $completed = [];
    /** @var list<string> steps left to the user */
    public array $manualSteps = [];

    public function __construct(private Application $app)
    {
    }

    /** @throws ConfigurationException a file cannot be written */
    public function run(): void
    {
        $this->copy(dirname(__DIR__) . '/config/realtime.php', 'config/realtime.php');
        $this->copy(self::STUBS . '/broadcasting.php', 'config/broadcasting.php');
        $this->environment();
        $this->copy(self::STUBS . '/channels.php', 'routes/channels.php');
        $this->channelRoutes();
        $this->browser();
    }

    private function environment(): void
    {
        $env = new EnvFile($this->app->basePath('.env'), $this->app->basePath('.env.example'));
        $env->addBlankLine();
        $bundler = $this->usesMix() ? 'MIX' : 'VITE';
        $variables = [
            'KAFKA_BROKERS' => 'localhost:9092',
            'REALTIME_APP_ID' => (string) random_int(100000, 999999),
            'REALTIME_APP_KEY' => bin2hex(random_bytes(10)),
            'REALTIME_APP_SECRET' => bin2hex(random_bytes(32)),
            'REALTIME_GATEWAY_HOST' => '127.0.0.1',
            'REALTIME_GATEWAY_PORT' => '6001',
            "{$bundler}_REALTIME_APP_KEY" => '${REALTIME_APP_KEY}',
            "{$bundler}_REALTIME_PORT" => '${REALTIME_GATEWAY_PORT}',
            "{$bundler}_REALTIME_SCHEME" => 'http',
        ];
        $added = array_keys(array_filter(
            $variables,
            static fn (string $value, string $name): bool => $env->add($name, $value),
            ARRAY_FILTER_USE_BOTH
        ));
        $this->broadcastDriver($env);
        $env->save();
        if ($added !== []) {
            $this->completed[] = '.env: ' . implode(', ', $added);
        }
        if (method_exists($this->app, 'configurationIsCached') && $this->app->configurationIsCached()) {
            $this->manualSteps[] = 'The configuration is cached. Run php artisan config:cache';
        }
    }

    /** Selects Kafka as the broadcast driver, unless another one is in use. */
    private function broadcastDriver(EnvFile $env): void
    {
        $file = $this->app->configPath('broadcasting.php');
        $config = is_file($file) ? (string) file_get_contents($file) : '';
        $variable = str_contains($config, 'BROADCAST_CONNECTION') || !str_contains($config, 'BROADCAST_DRIVER')
            ? 'BROADCAST_CONNECTION'
            : 'BROADCAST_DRIVER';
        $now = $env->get($variable);
        if (in_array($now, [null, '', 'null', 'log'], true)) {
            $env->set($variable, 'kafka');
            $this->completed[] = ".env: $variable=kafka";
        } elseif ($now !== 'kafka') {
            $this->manualSteps[] = "Broadcasts still go to $now. To send them through Kafka: $variable=kafka in .env";
        }
    }

    /** Laravel only reads routes/channels.php and registers /broadcasting/auth if configured to. */
    private function channelRoutes(): void
    {
        $bootstrap = $this->app->basePath('bootstrap/app.php');
        $text = is_file($bootstrap) ? (string) file_get_contents($bootstrap) : '';
        if (str_contains($text, '->withRouting(')) {
            if (preg_match('/^\s*channels:|withBroadcasting\(/m', $text) !== 1) {
                $text = str_contains($text, '// channels: ')
                    ? str_replace('// channels: ', 'channels: ', $text)
                    : str_replace(
                        '->withRouting(',
                        "->withRouting(\n        channels: __DIR__ . '/../routes/channels.php',",
                        $text
                    );
                $this->write('bootstrap/app.php', $text);
                $this->completed[] = 'bootstrap/app.php: reads routes/channels.php';
            }

            return;
        }
        // Up to Laravel 10 this is done by an application provider, which new applications have commented out.
        $file = $this->app->configPath('app.php');
        $config = is_file($file) ? (string) file_get_contents($file) : '';
        $commented = '// App\Providers\BroadcastServiceProvider::class';
        if (str_contains($config, $commented)) {
            $this->write('config/app.php', str_replace($commented, substr($commented, 3), $config));
            $this->completed[] = 'config/app.php: App\Providers\BroadcastServiceProvider';
        } elseif (!$this->hasAuthRoute()) {
            $this->manualSteps[] = "In a service provider's boot(): Broadcast::routes(); require "
                . "base_path('routes/channels.php');";
        }
    }

    private function hasAuthRoute(): bool
    {
        foreach ($this->app->make('router')->getRoutes() as $route) {
            if ($route->uri() === 'broadcasting/auth') {
                return true;
            }
        }

        return false;
    }

    private function browser(): void
    {
        $stub = (string) file_get_contents(self::STUBS . '/echo.js');
        if ($this->usesMix()) {
            $stub = str_replace('import.meta.env.VITE_', 'process.env.MIX_', $stub);
        }
        if (!is_file($this->app->resourcePath('js/echo.js'))) {
            $this->write('resources/js/echo.js', $stub);
            $this->completed[] = 'resources/js/echo.js';
        }
        foreach (['bootstrap.js', 'app.js'] as $entry) {
            $file = $this->app->resourcePath("js/$entry");
            if (is_file($file)) {
                $text = (string) file_get_contents($file);
                if (preg_match('/^\s*(import|require).*echo/m', $text) !== 1) {
                    $this->write("resources/js/$entry", rtrim($text) . "\n\nimport './echo';\n");
                    $this->completed[] = "resources/js/$entry: imports echo.js";
                }
                break;
            }
        }
        $this->manualSteps[] = 'In the browser: npm install --save-dev laravel-echo pusher-js';
    }

    private function usesMix(): bool
    {
        return is_file($this->app->basePath('webpack.mix.js')) && glob($this->app->basePath('vite.config.*')) === [];
    }

    private function copy(string $from, string $to): void
    {
        if (!is_file($this->app->basePath($to))) {
            $this->write($to, (string) file_get_contents($from));
            $this->completed[] = $to;
        }
    }

    private function write(string $file, string $text): void
    {
        $path = $this->app->basePath($file);
        if (!is_dir(dirname($path))) {
            @mkdir(dirname($path), 0755, true);
        }
        if (@file_put_contents($path, $text) === false) {
            throw new ConfigurationException("Cannot write $path. Check its permissions.");
        }
    }
}
