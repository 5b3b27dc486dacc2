<?php

/**
 * Signal handlers of the host, which exit: the record that is being handled is finished first, and a stop by a signal
 * never counts as an attempt.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Delivery;

use PHPUnit\Framework\Attributes\DataProvider;
use Toporia\Realtime\Tests\Support\ChildProcess;

final class HostSignalBrokerTest extends DeliveryTestCase
{
    /** A callback that takes 1.5 s at B1, also if signals interrupt its sleep. */
    private const SLOW = <<<'PHP'
        if ($record === 'B1') {
            echo "slow\n";
            for ($until = microtime(true) + 1.5; microtime(true) < $until; usleep(20_000)) {
            }
            echo "finished\n";
        }
        PHP;

    /** A Symfony application with an event dispatcher, whose command consumes with the callback `$callback`. */
    private const SYMFONY = <<<'PHP'
        require_once 'Symfony/Component/Console/autoload.php';
        require_once 'Symfony/Component/EventDispatcher/autoload.php';
        use Symfony\Component\Console\{Application, Command\Command, ConsoleEvents, Input, Output};
        use Symfony\Component\EventDispatcher\EventDispatcher;
        function application(Closure $run): Application
        {
            $dispatcher = new EventDispatcher();
            $dispatcher->addListener(ConsoleEvents::SIGNAL, function ($event) {
                echo "handler {$event->getHandlingSignal()}\n";
            });
            $application = new Application();
            $application->setDispatcher($dispatcher);
            $application->register('work')->setCode(function () use ($run): int {
                $run();
                return 0;
            });
            $application->setAutoExit(false);
            return $application;
        }
        PHP;

    /** @dataProvider hosts */
    #[DataProvider('hosts')]
    public function testTheRecordIsFinishedBeforeTheHostsHandlerRuns(string $script, int $signal, ?int $code): void
    {
        $this->produce(['A1', 'B1', 'C1']);
        $child = $this->startPhp($this->host($script));
        $child->waitForOutput('/^slow$/m');
        usleep(300_000);
        $child->signal($signal);
        $result = $child->wait();
        self::assertStringContainsString("finished\nhandler $signal\n", $result->stdout, $result->describe());
        self::assertSame('', $result->stderr);
        self::assertStringNotContainsString('returned', $result->stdout);
        if ($code !== null) {
            $result->assertExit($code);
        }
        self::assertSame(['A1#1', 'A1 done', 'B1#1', 'B1 done'], $this->noted());
        self::assertSame(['C1'], $this->left());
    }

    /** @return array<string, array{string, int, int|null}> */
    public static function hosts(): array
    {
        $exits = 'pcntl_signal(%s, function ($signal) { echo "handler $signal\n"; exit(7); });';
        $cases = [];
        foreach (['SIGTERM', 'SIGINT', 'SIGQUIT', 'SIGHUP', 'SIGWINCH'] as $name) {
            $handler = sprintf($exits, $name);
            $cases["$name, async"] = ["pcntl_async_signals(true); $handler #", constant($name), 7];
        }
        $handler = sprintf($exits, 'SIGTERM');
        $run = 'application(function () { RUN })->run(new Input\ArrayInput(["work"])); #';
        $symfony = self::SYMFONY . "\n$run";

        return $cases + [
            'dispatched by the callback' => ["$handler pcntl_signal_dispatch(); #", SIGTERM, 7],
            'set by the callback' => ["pcntl_async_signals(true); # $handler", SIGTERM, 7],
            'set by the callback, then restored to none' => [
                "pcntl_async_signals(true); $handler # pcntl_signal(SIGTERM, SIG_DFL); $handler",
                SIGTERM,
                7,
            ],
            // Its own exit code: 0, in newer versions 128 + 15.
            'a Symfony application' => [$symfony, SIGTERM, null],
            'a Symfony application, SIGINT' => [$symfony, SIGINT, null],
            'a Symfony application that the callback runs' => [
                self::SYMFONY . '# application(function () { })->run(new Input\ArrayInput(["work"]));'
                    . 'if (!is_callable(pcntl_signal_get_handler(SIGTERM))) {'
                    . 'pcntl_signal(SIGTERM, function () { echo "handler 15\n"; exit(0); }); }',
                SIGTERM,
                null,
            ],
        ];
    }

    public function testAnExceptionOfTheHandlerEndsConsumeAfterTheRecord(): void
    {
        $this->produce(['A1', 'B1', 'C1']);
        $child = $this->startPhp($this->host(<<<'PHP'
            pcntl_async_signals(true);
            pcntl_signal(SIGTERM, function () { echo "handler 15\n"; throw new DomainException('stop'); });
            try { RUN } catch (DomainException $e) { echo "caught {$e->getMessage()}\n"; exit; } #
            PHP));
        $child->waitForOutput('/^slow$/m');
        $result = $child->signal(SIGTERM)->wait();
        $result->assertExit();
        self::assertStringContainsString("finished\nhandler 15\ncaught stop\n", $result->stdout);
        self::assertSame(['C1'], $this->left());
    }

    public function testWithExactlyOnceTheTransactionIsCommittedFirst(): void
    {
        $this->produce(['A1', 'B1', 'C1']);
        $child = $this->startPhp($this->host($this->exits(), "['delivery' => 'exactly-once']"));
        $child->waitForOutput('/^slow$/m');
        $child->signal(SIGTERM)->wait()->assertExit(7);
        self::assertSame(['A1#1', 'A1 done', 'B1#1', 'B1 done'], $this->noted());
        if (self::isReal()) {
            // The embedded broker keeps no offsets of transactions.
            self::assertSame(['C1'], $this->left());
        }
    }

    public function testWithAtMostOnceTheBatchIsHandledFirst(): void
    {
        $this->produce(['A1', 'B1', 'C1']);
        $child = $this->startPhp($this->host($this->exits(), "['delivery' => 'at-most-once']"));
        $child->waitForOutput('/^slow$/m');
        $child->signal(SIGTERM)->wait()->assertExit(7);
        self::assertSame(['A1', 'B1', 'C1'], array_values(array_filter(array_map(
            static fn (string $line) => str_ends_with($line, ' done') ? substr($line, 0, 2) : null,
            $this->noted()
        ))), 'its offsets were committed before');
        self::assertSame([], $this->left());
    }

    public function testAStopWithinACallbackIsNoAttempt(): void
    {
        $this->produce(['A1', 'B1', 'C1']);
        $setup = 'pcntl_async_signals(true); pcntl_signal(SIGUSR1, function () { exit(7); }); #';
        foreach ([1, 2, 3] as $deploy) {
            $child = $this->startPhp($this->host($setup, "['max_retries' => 0]"));
            $child->waitForOutput('/^slow$/m', 20.0);
            $child->signal(SIGUSR1)->wait()->assertExit(7);
        }
        self::assertSame(['A1#1', 'A1 done', 'B1#1', 'B1#1', 'B1#1'], $this->noted());
        self::assertSame([], $this->letters());
        self::assertSame(['B1', 'C1'], $this->left());
    }

    public function testTheHandlerWaitsAtMost30Seconds(): void
    {
        $this->produce(['A1', 'B1']);
        $callback = 'if ($record === "B1") { echo "slow\n"; while (true) { usleep(50_000); } }';
        $setup = str_replace('#', '', $this->exits());
        $child = $this->startPhp($setup . $this->script($callback, "['max_retries' => 0]"));
        $child->waitForOutput('/^slow$/m');
        $start = microtime(true);
        $child->signal(SIGTERM)->signal(SIGTERM)->wait(50.0)->assertExit(7);
        self::assertEqualsWithDelta(31.0, microtime(true) - $start, 3.0);
        self::assertSame([], $this->letters(), 'no attempt');
        self::assertSame(['B1'], $this->left());
    }

    /** @dataProvider stopSignals */
    #[DataProvider('stopSignals')]
    public function testAsPid1WithoutAHandlerOfTheHost(int $signal): void
    {
        $this->skipUnlessNamespacesCanBeCreated();
        $this->produce(['A1', 'B1', 'C1']);
        $child = $this->startPhp($this->host('#'), [
            'prefix' => ['unshare', '--pid', '--fork', '--kill-child', '--mount-proc'],
        ]);
        $child->waitForOutput('/^slow$/m');
        posix_kill($this->childOf($child), $signal);
        $result = $child->wait();
        $result->assertExit();
        self::assertStringContainsString("finished\nreturned 2 signal\n", $result->stdout);
        self::assertSame(['C1'], $this->left());
    }

    /** @return array<string, array{int}> those of PHP's official images, and Ctrl-C */
    public static function stopSignals(): array
    {
        return ['cli' => [SIGTERM], 'fpm' => [SIGQUIT], 'apache' => [SIGWINCH], 'Ctrl-C' => [SIGINT]];
    }

    public function testAResizedTerminalDoesNotStopIt(): void
    {
        $this->produce(['A1', 'B1', 'C1']);
        $child = $this->startPhp($this->host('#', '[]', 'stopWhenEmpty: true'));
        $child->waitForOutput('/^slow$/m');
        $child->signal(SIGWINCH)->wait()->assertExit();
        self::assertContains('C1 done', $this->noted());
    }

    public function testAForkedChildKeepsTheHandlers(): void
    {
        $callback = <<<'PHP'
            $pid = pcntl_fork();
            if ($pid === 0) {
                sleep(20);
                posix_kill(getmypid(), SIGKILL);
            }
            usleep(200_000);
            posix_kill($pid, SIGTERM);
            pcntl_waitpid($pid, $status);
            echo pcntl_wifsignaled($status) ? "signal " . pcntl_wtermsig($status) : pcntl_wexitstatus($status), "\n";
            PHP;
        foreach (["signal 15\n" => '', "handler 15\n7\n" => str_replace('#', '', $this->exits())] as $expected => $setup) {
            $this->produce(['A1']);
            $script = $setup . $this->script($callback, '[]', 'maxMessages: 1');
            self::assertStringStartsWith($expected, $this->runPhp($script)->stdout);
        }
    }

    private function exits(): string
    {
        return 'pcntl_async_signals(true); pcntl_signal(SIGTERM, function ($s) { echo "handler $s\n"; exit(7); }); #';
    }

    /**
     * @param string $parts the script of the host and, after a #, code of the callback at B1; RUN in it consumes
     */
    private function host(string $parts, string $config = '[]', string $consume = ''): string
    {
        [$setup, $inCallback] = explode('#', $parts, 2);
        $slow = str_replace('echo "slow\n";', "$inCallback echo \"slow\\n\";", self::SLOW);
        if (str_contains($setup, 'pcntl_signal_dispatch')) {
            $slow = str_replace('usleep(20_000))', 'usleep(20_000), pcntl_signal_dispatch())', $slow);
        }
        $run = $this->script($slow, $config, $consume);

        return str_contains($setup, 'RUN') ? str_replace('RUN', $run, $setup) : $setup . "\n" . $run;
    }

    private function childOf(ChildProcess $process): int
    {
        $pid = $process->pid();

        return (int) file_get_contents("/proc/$pid/task/$pid/children");
    }

    private function skipUnlessNamespacesCanBeCreated(): void
    {
        exec('unshare --pid --fork --mount-proc true 2>&1', $output, $status);
        if ($status !== 0) {
            self::markTestSkipped(
                'A PID namespace cannot be created here (requires root, and CAP_SYS_ADMIN in a container): '
                . implode(' ', $output)
            );
        }
    }
}
