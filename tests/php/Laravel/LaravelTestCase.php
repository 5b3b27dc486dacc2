<?php

/**
 * Base of the tests in a real Laravel: a copy of examples/laravel, on the framework packaged by Debian.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Laravel;

use Toporia\Realtime\Message;
use Toporia\Realtime\Tests\Support\BrokerTestCase;
use Toporia\Realtime\Tests\Support\ChildProcess;
use Toporia\Realtime\Tests\Support\LaravelApplication;
use Toporia\Realtime\Tests\Support\ProcessResult;

abstract class LaravelTestCase extends BrokerTestCase
{
    protected const SECRET = '3f1c5e0a9b7d4826a0c4e8f2b6d19573';

    /** The directory of this test's application. */
    protected string $app;

    protected function setUp(): void
    {
        parent::setUp();
        $this->app = sys_get_temp_dir() . "/realtime-laravel-$this->prefix";
        LaravelApplication::create($this->app);
        $this->env([
            'APP_ENV' => 'local',
            'APP_DEBUG' => 'true',
            'APP_KEY' => 'base64:' . base64_encode(random_bytes(32)),
            'BROADCAST_DRIVER' => 'kafka',
            'REALTIME_LOG_CHANNEL' => 'realtime',
            'REALTIME_APP_ID' => '1',
            'REALTIME_APP_KEY' => 'key',
            'REALTIME_APP_SECRET' => self::SECRET,
            ...$this->childEnvironment(),
        ]);
    }

    protected function tearDown(): void
    {
        $this->endChildren();
        LaravelApplication::remove($this->app);
        parent::tearDown();
    }

    /**
     * Replaces the application's .env.
     *
     * @param array<string, string|null> $variables
     */
    protected function env(array $variables): void
    {
        $lines = array_map(
            static fn (string $name, ?string $value): string => "$name=\"$value\"",
            array_keys($variables),
            $variables
        );
        file_put_contents("$this->app/.env", implode("\n", $lines) . "\n");
    }

    /**
     * Adds lines to the .env, overriding existing ones.
     *
     * @param array<string, string> $variables
     */
    protected function addEnv(array $variables): void
    {
        $text = (string) file_get_contents("$this->app/.env");
        foreach ($variables as $name => $value) {
            $text = preg_replace("/^$name=.*\n/m", '', $text) . "$name=\"$value\"\n";
        }
        file_put_contents("$this->app/.env", $text);
    }

    /**
     * Writes a file of the application.
     */
    protected function write(string $file, string $content): void
    {
        @mkdir(dirname("$this->app/$file"), 0755, true);
        file_put_contents("$this->app/$file", $content);
    }

    /**
     * Writes config/realtime.php: the package's own with some values replaced.
     *
     * @param string $array PHP code of an array
     */
    protected function realtime(string $array): void
    {
        $package = var_export(self::root() . '/php/Laravel/config/realtime.php', true);
        $this->write('config/realtime.php', "<?php\n\nreturn array_replace_recursive(require $package, $array);\n");
    }

    /**
     * Runs an artisan command to its end.
     *
     * @param string $arguments separated by spaces
     * @param array<string, mixed> $options of runPhp()
     */
    protected function artisan(string $arguments, array $options = []): ProcessResult
    {
        return $this->startArtisan($arguments, $options)->wait($options['timeout'] ?? 40.0);
    }

    /**
     * @param array<string, mixed> $options of runPhp()
     */
    protected function startArtisan(string $arguments, array $options = []): ChildProcess
    {
        $words = preg_split('/ +/', trim($arguments)) ?: [];

        return $this->startScript("$this->app/artisan", ['args' => $words, 'cwd' => $this->app] + $this->own($options));
    }

    /**
     * Runs code in the booted application and returns its result, through JSON.
     *
     * @param array<string, mixed> $options of runPhp()
     */
    protected function inApp(string $code, array $options = []): mixed
    {
        $call = "(static function () {\n$code\n})()";
        $result = $this->startInApp("echo \"\\n\", 'ANSWER ', json_encode($call, JSON_THROW_ON_ERROR);", $options)
            ->wait($options['timeout'] ?? 30.0)
            ->assertExit($options['exit'] ?? 0);
        self::assertMatchesRegularExpression('/^ANSWER .*/m', $result->stdout, $result->describe());
        preg_match('/^ANSWER (.*)$/m', $result->stdout, $match);
        self::assertNotSame('', $match[1], $result->describe());

        return json_decode($match[1], true);
    }

    /**
     * Starts code in the booted application; options as for runPhp().
     *
     * @param array<string, mixed> $options
     */
    protected function startInApp(string $code, array $options = []): ChildProcess
    {
        $boot = <<<PHP
            require '$this->app/vendor/autoload.php';
            \$app = require '$this->app/bootstrap/app.php';
            \$app->make(Illuminate\Contracts\Console\Kernel::class)->bootstrap();
            ini_set('display_errors', 'stderr');
            PHP;

        return $this->startPhp("$boot\n$code", ['layer' => false, 'cwd' => $this->app] + $this->own($options));
    }

    /**
     * Code that sends a request to the application and returns status and body; authenticated, if a user is given.
     *
     * @param array<string, mixed> $input
     */
    protected function request(string $method, string $path, array $input = [], ?int $user = null): mixed
    {
        $given = var_export(json_encode([$method, $path, $input, $user]), true);

        return $this->inApp(<<<PHP
            [\$method, \$path, \$input, \$user] = json_decode($given, true);
            if (\$user !== null) {
                auth()->setUser(App\Models\User::findOrFail(\$user));
            }
            // As Laravel's own tests do: no token of a form.
            app()->instance('middleware.disable', true);
            \$request = Illuminate\Http\Request::create(\$path, \$method, \$input);
            \$request->headers->set('Accept', 'application/json');
            \$response = app(Illuminate\Contracts\Http\Kernel::class)->handle(\$request);
            return [\$response->getStatusCode(), json_decode(\$response->getContent(), true) ?? \$response->getContent()];
            PHP);
    }

    /**
     * Every message that the application has sent to Kafka: the default topic of grouped channels.
     *
     * @return list<Message>
     */
    protected function sent(int $atLeast = 1): array
    {
        return $this->consumeAll($this->prefix, $atLeast);
    }

    /**
     * The essential parts of those messages, for comparisons.
     *
     * @param list<Message> $messages
     *
     * @return list<array{string, string, mixed}>
     */
    protected static function summary(array $messages): array
    {
        return array_map(static function (Message $message): array {
            $envelope = json_decode((string) $message->getPayload(), true);

            return [$envelope['channel'], $envelope['event'], $envelope['data'] ?? null];
        }, $messages);
    }

    protected function migrate(): void
    {
        touch("$this->app/database/database.sqlite");
        $this->artisan('migrate --force')->assertExit();
    }

    /**
     * The machine's variables must not reach the application: its .env is the only source, as in production.
     *
     * @param array<string, mixed> $options
     *
     * @return array<string, mixed>
     */
    private function own(array $options): array
    {
        $options['env'] = ($options['env'] ?? []) + array_fill_keys(array_keys($this->childEnvironment()), null);
        // Debian's Laravel 8.83 was written for PHP 8.1: its own deprecations are not tested.
        $options['ini'] = ($options['ini'] ?? []) + ['error_reporting' => (string) (E_ALL & ~E_DEPRECATED)];

        return $options;
    }
}
