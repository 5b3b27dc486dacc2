<?php

/**
 * SIGTERM and SIGINT during consume(): the running callback finishes, then consume() returns; PHP's own handlers run.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Consuming;

use PHPUnit\Framework\Attributes\DataProvider;

final class SignalBrokerTest extends ConsumingTestCase
{
    /** @dataProvider signals */
    #[DataProvider('signals')]
    public function testWhileIdle(int $signal): void
    {
        $child = $this->startPhp($this->worker('', <<<'PHP'
            echo "returned ", json_encode($broker->stats()['stop_reason']), "\n";
            PHP));
        $child->waitForOutput('/^idle$/m');
        $start = microtime(true);
        $result = $child->signal($signal)->wait();
        $result->assertExit();
        self::assertStringContainsString('returned "signal"', $result->stdout);
        self::assertLessThan(5.0, microtime(true) - $start);
    }

    /** @dataProvider signals */
    #[DataProvider('signals')]
    public function testWithinABatchAndDuringASlowCallback(int $signal): void
    {
        $this->publish('user.1', range(1, 20));
        $child = $this->startPhp($this->worker(<<<'PHP'
            echo "start $data\n";
            if ($data === 5) {
                $until = microtime(true) + 0.8;
                while (($left = $until - microtime(true)) > 0) {
                    usleep((int) ($left * 1e6));
                }
            }
            echo "end $data\n";
            PHP));
        $child->waitForOutput('/^start 5$/m');
        $start = microtime(true);
        $result = $child->signal($signal)->wait();
        $result->assertExit();
        self::assertLessThan(6.5, microtime(true) - $start, 'the callback plus five seconds at most');
        self::assertMatchesRegularExpression("/^end 5\n(idle\n)*returned 5 signal\n\z/m", $result->stdout);
        self::assertStringNotContainsString('start 6', $result->stdout);
        self::assertSame(range(6, 20), $this->rest('user.1'), 'nothing lost, nothing twice');
    }

    /** @return array<string, array{int}> */
    public static function signals(): array
    {
        return ['SIGTERM' => [SIGTERM], 'SIGINT' => [SIGINT]];
    }

    /** @dataProvider handlers */
    #[DataProvider('handlers')]
    public function testTheApplicationsHandlersRunInsteadOfOurs(string $setup): void
    {
        $child = $this->startPhp($this->worker('', <<<'PHP'
            echo "after: ", is_callable(pcntl_signal_get_handler(SIGTERM)) ? "still there" : "gone", "\n";
            PHP, $setup));
        $child->waitForOutput('/^idle$/m');
        $child->signal(SIGTERM);
        $child->waitForOutput('/^handler 15$/m', 5.0);
        self::assertTrue($child->keepsRunning(0.3), 'their handler decides whether it exits');
        $child->signal(SIGUSR1);
        $result = $child->wait();
        $result->assertExit();
        self::assertStringContainsString("handler 10\n", $result->stdout);
        self::assertStringContainsString('returned 0 stopped', $result->stdout);
        self::assertStringContainsString('after: still there', $result->stdout);
    }

    /** @return array<string, array{string}> */
    public static function handlers(): array
    {
        $handlers = <<<'PHP'
            pcntl_signal(SIGTERM, function ($signal) { echo "handler $signal\n"; });
            pcntl_signal(SIGUSR1, function ($signal) use (&$broker) {
                echo "handler $signal\n";
                $broker->stopConsuming();
            });
            PHP;

        return ['async' => ["pcntl_async_signals(true); $handlers"], 'not async' => [$handlers]];
    }

    public function testTheApplicationsHandlerRunsBetweenRecordsToo(): void
    {
        $this->publish('user.1', range(1, 2000));
        $child = $this->startPhp($this->worker('usleep(2000);', '', <<<'PHP'
            pcntl_signal(SIGTERM, function () use (&$broker) { $broker->stopConsuming(); });
            PHP));
        $child->waitForOutput('/^idle$/m');
        $start = microtime(true);
        $result = $child->signal(SIGTERM)->wait();
        $result->assertExit();
        self::assertLessThan(2.0, microtime(true) - $start);
        self::assertMatchesRegularExpression('/^returned \d{1,3} stopped$/m', $result->stdout);
    }

    public function testAnExceptionInTheApplicationsHandlerEndsConsume(): void
    {
        $child = $this->startPhp(<<<'PHP'
            pcntl_async_signals(true);
            pcntl_signal(SIGTERM, function () { throw new DomainException('from the handler'); });
            $broker = new Broker();
            $broker->subscribe('user.1', fn () => null)->onTick(function () { echo "idle\n"; }, 100);
            try {
                $broker->consume();
            } catch (DomainException $e) {
                echo "caught ", $e->getMessage(), "\n";
            }
            PHP);
        $child->waitForOutput('/^idle$/m');
        $result = $child->signal(SIGTERM)->wait();
        $result->assertExit();
        self::assertStringContainsString('caught from the handler', $result->stdout);
    }

    public function testTheDefaultHandlersAreRestoredAfterwards(): void
    {
        $child = $this->startPhp($this->worker('', <<<'PHP'
            echo "waiting\n";
            for ($i = 0; $i < 100; $i++) {
                usleep(50_000);
            }
            PHP));
        $child->waitForOutput('/^idle$/m');
        $child->signal(SIGTERM)->waitForOutput('/^waiting$/m');
        $result = $child->signal(SIGTERM)->wait();
        self::assertSame(SIGTERM, $result->signal, 'outside consume() it ends the process. ' . $result->describe());
    }

    public function testAnIgnoredSignalStaysIgnored(): void
    {
        $child = $this->startPhp($this->worker('', '', 'pcntl_signal(SIGINT, SIG_IGN);'));
        $child->waitForOutput('/^idle$/m');
        $child->signal(SIGINT);
        self::assertTrue($child->keepsRunning(0.5));
        $child->signal(SIGTERM)->wait()->assertExit();
    }

    public function testConsumeCanBeCalledAgainAfterASignal(): void
    {
        $this->publish('user.1', [1, 2, 3]);
        $child = $this->startPhp($this->worker('echo "got $data\n"; if ($data === 1) { usleep(600_000); }', <<<'PHP'
            $handled = $broker->consume(maxMessages: 2);
            echo "again $handled\n";
            PHP));
        $child->waitForOutput('/^got 1$/m');
        $result = $child->signal(SIGTERM)->wait();
        $result->assertExit();
        self::assertStringContainsString("returned 1 signal\n", $result->stdout);
        self::assertMatchesRegularExpression("/^got 2\n(idle\n)*got 3\n(idle\n)*again 2\n\z/m", $result->stdout);
    }

    public function testAnAlarmRunsWhileIdle(): void
    {
        $result = $this->runPhp($this->worker('', '', <<<'PHP'
            pcntl_async_signals(true);
            pcntl_signal(SIGALRM, function () use (&$broker) {
                static $times = 0;
                echo "alarm ", ++$times, "\n";
                $times === 2 ? $broker->stopConsuming() : pcntl_alarm(1);
            });
            pcntl_alarm(1);
            PHP));
        $result->assertExit();
        self::assertStringContainsString("alarm 2\n", $result->stdout);
        self::assertLessThan(6.0, $result->seconds);
    }

    public function testTheTimeLimitStopsABusyCallback(): void
    {
        $this->publish('user.1', [1, 2]);
        $result = $this->runPhp($this->worker(<<<'PHP'
            if ($data === 2) {
                set_time_limit(1);
                while (true) {
                }
            }
            PHP), ['timeout' => 15.0]);
        $result->assertExit(255);
        self::assertStringContainsString('Maximum execution time', $result->stderr);
        self::assertSame([2], $this->rest('user.1'));
    }

    public function testTheTimeLimitLeavesAnIdleConsumerAlone(): void
    {
        // The limit counts CPU time, and waiting uses none.
        $child = $this->startPhp($this->worker('', '', 'set_time_limit(1);'));
        $child->waitForOutput('/^idle$/m');
        self::assertTrue($child->keepsRunning(1.3), $child->stderr());
        $child->signal(SIGTERM)->wait()->assertExit();
    }

    /** A consumer of user.1 that prints when it ticks, and how consume() returned. */
    private function worker(string $callback, string $after = '', string $before = ''): string
    {
        return <<<PHP
            \$broker = new Broker();
            $before
            \$broker->subscribe('user.1', function (Message \$message) {
                \$data = \$message->getData();
                $callback
            });
            \$broker->onTick(function (Broker \$broker) {
                if (\$broker->stats()['connected']) {
                    echo "idle\\n";
                }
            }, 200);
            ob_implicit_flush();
            \$handled = \$broker->consume();
            echo "returned \$handled ", \$broker->stats()['stop_reason'], "\\n";
            $after
            PHP;
    }
}
