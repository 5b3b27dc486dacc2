<?php

/**
 * Base of the tests that run ./console against a broker: an application directory, and decoded output.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Console;

use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Tests\Support\BrokerTestCase;
use Toporia\Realtime\Tests\Support\ChildProcess;
use Toporia\Realtime\Tests\Support\ProcessResult;
use Toporia\Realtime\Worker\RestartSignal;

abstract class ConsoleTestCase extends BrokerTestCase
{
    /** The working directory of the commands. */
    protected string $app;

    protected function setUp(): void
    {
        parent::setUp();
        $this->app = sys_get_temp_dir() . "/realtime-$this->prefix";
        mkdir($this->app . '/config', 0700, true);
        mkdir($this->app . '/vendor');
        $this->configure('[]');
    }

    protected function tearDown(): void
    {
        foreach ([...(array) glob($this->app . '/*'), ...(array) glob($this->app . '/*/*')] as $file) {
            is_file((string) $file) && unlink((string) $file);
        }
        @unlink(RestartSignal::of([], $this->app)->file);
        array_map('rmdir', ["$this->app/config", "$this->app/vendor", $this->app]);
        parent::tearDown();
    }

    /**
     * Writes config/realtime.php; without it there is one with only the settings every test needs.
     *
     * @param string $array PHP code
     */
    protected function configure(string $array): void
    {
        file_put_contents("$this->app/config/realtime.php", "<?php\n\nreturn $array;\n");
    }

    /**
     * Writes the classes of the application, loaded by its vendor/autoload.php.
     *
     * @param string $code PHP code without the opening tag
     */
    protected function classes(string $code): void
    {
        $use = 'use Toporia\Realtime\{Message, Realtime};';
        file_put_contents("$this->app/vendor/autoload.php", "<?php\n\n$use\n\n$code\n");
    }

    /**
     * The content of a file that a handler of the application wrote in the application directory.
     *
     * @return list<string>
     */
    protected function log(): array
    {
        $file = "$this->app/log";

        return is_file($file) ? (array) file($file, FILE_IGNORE_NEW_LINES) : [];
    }

    /**
     * Sends events to a channel and waits until the broker has them.
     */
    protected function publish(string $channel, string ...$events): void
    {
        $broker = $this->broker();
        foreach ($events as $event) {
            $broker->publish($channel, Message::event($channel, $event, ['of' => $channel]));
        }
        Realtime::flush();
    }

    /**
     * Runs realtime:kafka:consume with --json to its end.
     *
     * @param array<string, mixed> $options of runPhp()
     */
    protected function consume(string $arguments, array $options = []): Report
    {
        return new Report($this->console('realtime:kafka:consume --json ' . $arguments, $options));
    }

    /**
     * Starts realtime:kafka:consume in the background; the text form, for waitForOutput().
     */
    protected function startConsume(string $arguments): ChildProcess
    {
        return $this->startConsole($this->words('realtime:kafka:consume ' . $arguments), ['cwd' => $this->app]);
    }

    /**
     * Runs a command to its end.
     *
     * @param string $arguments separated by spaces
     * @param array<string, mixed> $options of runPhp()
     */
    protected function console(string $arguments, array $options = []): ProcessResult
    {
        return $this->runConsole($this->words($arguments), $options + ['cwd' => $this->app, 'timeout' => 40.0]);
    }

    /** @return list<string> */
    private function words(string $arguments): array
    {
        return preg_split('/ +/', trim($arguments)) ?: [];
    }
}
