<?php

/**
 * Base of the tests of deploy/: its files with this machine's paths, and the programs that read them.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Deploy;

use RecursiveDirectoryIterator;
use RecursiveIteratorIterator;
use SplFileInfo;
use Toporia\Realtime\Admin;
use Toporia\Realtime\Tests\Console\ConsoleTestCase;
use Toporia\Realtime\Tests\Support\ChildProcess;
use Toporia\Realtime\Tests\Support\ProcessResult;
use Toporia\Realtime\Tests\Support\PusherClient;

/**
 * The application of these tests has the layout that the files expect: vendor/bin/toporia-realtime in its directory.
 */
abstract class DeployTestCase extends ConsoleTestCase
{
    /** @var list<ChildProcess> */
    private array $programs = [];

    protected function setUp(): void
    {
        parent::setUp();
        mkdir("$this->app/vendor/bin");
        $console = var_export(self::root() . '/php/Console/main.php', true);
        file_put_contents("$this->app/vendor/bin/toporia-realtime", "<?php\n\nexit(require $console);\n");
        // A stand-in for /usr/bin/php that loads the extension under test. With exec, signals reach PHP itself.
        $php = escapeshellarg(PHP_BINARY);
        $extension = escapeshellarg('extension=' . self::extension());
        file_put_contents($this->php(), "#!/bin/sh\nexec $php -d $extension -d display_errors=stderr \"\$@\"\n");
        chmod($this->php(), 0755);
    }

    protected function tearDown(): void
    {
        foreach ($this->programs as $program) {
            $program->signal();
        }
        foreach ($this->programs as $program) {
            $program->wait(10.0);
        }
        $this->programs = [];
        $files = new RecursiveIteratorIterator(
            new RecursiveDirectoryIterator($this->app, RecursiveDirectoryIterator::SKIP_DOTS),
            RecursiveIteratorIterator::CHILD_FIRST
        );
        /** @var SplFileInfo $file */
        foreach ($files as $file) {
            $keep = in_array($file->getPathname(), ["$this->app/config", "$this->app/vendor"], true);
            $file->isDir() && !$file->isLink() ? ($keep || rmdir($file->getPathname())) : unlink($file->getPathname());
        }
        parent::tearDown();
    }

    /** The path of the stand-in for /usr/bin/php. */
    protected function php(): string
    {
        return "$this->app/php";
    }

    /**
     * The class App\OrderHandler, named in the files: it appends its process id and the event to the file `log`.
     */
    protected function orderHandler(): void
    {
        $this->write('vendor/autoload.php', <<<'PHP'
            <?php

            namespace App;

            use Toporia\Realtime\Message;

            final class OrderHandler
            {
                public function handle(Message $message): void
                {
                    file_put_contents('log', getmypid() . " {$message->getEvent()}\n", FILE_APPEND | LOCK_EX);
                }
            }
            PHP);
    }

    /**
     * Waits until this many different events were handled; an event whose worker was killed is delivered twice.
     */
    protected function waitForEvents(int $count): void
    {
        $events = fn (): array => array_unique(array_map(
            static fn (string $line): string => (string) strrchr($line, ' '),
            $this->log()
        ));
        self::eventually(fn () => count($events()) === $count, "$count events are handled", 30.0);
    }

    /**
     * Waits until the group has committed this many records of this test: other tests use the same groups.
     */
    protected function waitForCommits(string $group, int $count): void
    {
        $admin = new Admin(['brokers' => self::address()]);
        $ours = fn (string $topic): bool => str_starts_with($topic, "{$this->prefix}_");
        $committed = static fn (): int => array_sum(array_map(
            'array_sum',
            array_filter($admin->groupOffsets($group), $ours, ARRAY_FILTER_USE_KEY)
        ));
        self::eventually(fn () => $committed() === $count, "$count records are committed", 30.0);
        $admin->close();
    }

    /**
     * A file of deploy/ with some of its texts replaced; each of them must occur.
     *
     * @param array<string, string> $replace
     */
    protected static function file(string $path, array $replace = []): string
    {
        $text = (string) file_get_contents(self::root() . "/deploy/$path");
        self::assertNotSame('', $text, $path);
        foreach (array_keys($replace) as $from) {
            self::assertStringContainsString($from, $text, "deploy/$path still says that");
        }

        return strtr($text, $replace);
    }

    /**
     * Writes a file into the directory of the application and returns its path.
     */
    protected function write(string $name, string $text): string
    {
        $path = "$this->app/$name";
        is_dir(dirname($path)) || mkdir(dirname($path), 0755, true);
        file_put_contents($path, $text);

        return $path;
    }

    /**
     * Runs a program to its end.
     *
     * @param list<string> $command
     * @param array<string, string> $env over the environment of this process
     */
    protected function execute(array $command, array $env = [], float $seconds = 30.0): ProcessResult
    {
        return (new ChildProcess($command, $env + getenv(), $this->app))->wait($seconds);
    }

    /**
     * Starts a program; at the end of the test it gets a signal, and is killed if it does not exit.
     *
     * @param list<string> $command
     * @param array<string, string> $env over the environment of this process
     */
    protected function start(array $command, array $env = []): ChildProcess
    {
        return $this->programs[] = new ChildProcess($command, $env + getenv(), $this->app);
    }

    /**
     * Consecutive free ports; the first one ends in 1.
     *
     * @return int the first without its last digit: 2345 stands for 23451, 23452, …
     */
    protected static function freePorts(int $count): int
    {
        for ($tries = 0; $tries < 100; $tries++) {
            $tens = random_int(2_000, 3_199);
            $taken = array_filter(range(0, $count), static function (int $last) use ($tens): bool {
                $socket = @stream_socket_server("tcp://127.0.0.1:$tens$last");

                return !is_resource($socket) || !fclose($socket);
            });
            if ($taken === []) {
                return $tens;
            }
        }
        self::fail("There are no $count free ports in a row between 20000 and 32000.");
    }

    /**
     * Opens 40 connections as browsers do, spread over the addresses; every handshake must succeed.
     *
     * @param list<string> $addresses `host:port`
     * @param string $key the application key
     */
    protected static function assertBrowsersConnect(array $addresses, string $key = 'shop-key'): void
    {
        $open = [];
        for ($i = 0; $i < 40; $i++) {
            $open[] = new PusherClient($addresses[$i % count($addresses)], ['key' => $key]);
        }
        self::assertCount(40, $open);
    }

    /**
     * Waits until a gateway is ready, by its operations listener.
     */
    protected static function waitUntilReady(string $ops): void
    {
        $context = stream_context_create(['http' => ['timeout' => 2, 'ignore_errors' => true]]);
        self::eventually(
            static fn () => str_starts_with((string) @file_get_contents("http://$ops/ready", false, $context), 'ready'),
            "the gateway with ops_listen $ops is ready",
            30.0
        );
    }

    /**
     * The environment of the gateways that a test starts as the files say.
     *
     * @return array<string, string>
     */
    protected function application(): array
    {
        return [
            'KAFKA_TOPIC_PREFIX' => $this->prefix,
            'REALTIME_APP_ID' => 'shop',
            'REALTIME_APP_KEY' => 'shop-key',
            'REALTIME_APP_SECRET' => bin2hex(random_bytes(16)),
        ];
    }

    /** A program's path; fails with the command that installs it. */
    protected static function program(string $name): string
    {
        foreach (['/usr/bin', '/usr/sbin', '/bin', '/sbin'] as $directory) {
            if (is_executable("$directory/$name")) {
                return "$directory/$name";
            }
        }
        self::fail("$name is missing. Install it: make setup");
    }

    private static function extension(): string
    {
        return getenv('REALTIME_EXTENSION') ?: self::root() . '/target/release/libtoporia_realtime.so';
    }
}
