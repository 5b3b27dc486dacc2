<?php

/**
 * Base of the tests of the guides' code: each class runs directly and as a command of ./console.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Guides;

use Toporia\Realtime\Message;
use Toporia\Realtime\Tests\Support\BrokerTestCase;
use Toporia\Realtime\Tests\Support\ChildProcess;

abstract class GuidesTestCase extends BrokerTestCase
{
    private string $app;

    protected function setUp(): void
    {
        parent::setUp();
        $this->app = sys_get_temp_dir() . "/realtime-guides-$this->prefix";
        mkdir("$this->app/config", 0700, true);
    }

    protected function tearDown(): void
    {
        parent::tearDown();
        @unlink("$this->app/config/realtime.php");
        rmdir("$this->app/config");
        rmdir($this->app);
    }

    /** @return array<string, array{0: string}> */
    public static function ways(): array
    {
        return ['by hand' => ['hand'], 'as a command of ./console' => ['console']];
    }

    /**
     * Starts a class of App: `(new X(realtime()))->handle()`, or its command in an application that names the class.
     *
     * @param class-string $class
     * @param string $broker PHP code of the array of the broker `kafka`, beside what the environment says
     * @param list<string> $arguments of the command
     * @param array<string, mixed> $options of startPhp()
     */
    protected function start(
        string $way,
        string $class,
        string $broker = '[]',
        array $arguments = [],
        array $options = []
    ): ChildProcess {
        $config = "['default_broker' => 'kafka', 'brokers' => ['kafka' => $broker]]";
        if ($way === 'hand') {
            $code = "Realtime::configure($config);\nexit((new \\$class(realtime()))->handle());";

            return $this->startPhp($code, $options + ['cwd' => $this->app]);
        }
        file_put_contents(
            "$this->app/config/realtime.php",
            "<?php\n\nreturn ['commands' => [\\$class::class]] + $config;\n"
        );
        preg_match('/signature = \'(\S+)/', (string) file_get_contents(self::file($class)), $name);

        return $this->startConsole([rtrim($name[1], "';"), ...$arguments], $options + ['cwd' => $this->app]);
    }

    /**
     * The envelopes in the topic of a channel.
     *
     * @return list<array<string, mixed>>
     */
    protected function sent(string $channel, int $atLeast): array
    {
        return array_map(
            static fn (Message $record): array => json_decode((string) $record->getPayload(), true),
            $this->consumeAll($this->channelTopic($channel), $atLeast)
        );
    }

    /** @param class-string $class */
    private static function file(string $class): string
    {
        return __DIR__ . '/App/' . substr($class, (int) strrpos($class, '\\') + 1) . '.php';
    }
}
