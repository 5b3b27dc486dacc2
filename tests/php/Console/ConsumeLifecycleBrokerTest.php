<?php

/**
 * The lifecycle of a worker: signals, restart marks, an unreachable Kafka, topics that are created later.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Console;

use PHPUnit\Framework\Attributes\DataProvider;
use Toporia\Realtime\Tests\Support\ChildProcess;

final class ConsumeLifecycleBrokerTest extends ConsoleTestCase
{
    /** @dataProvider signals */
    #[DataProvider('signals')]
    public function testASignalStopsItCleanly(int $signal): void
    {
        $this->publish('user.1', 'a');
        $child = $this->startConsume('--channels=user.1');
        $child->waitForOutput('/ user\.1  a  /', 30);
        $result = $child->signal($signal)->wait();
        $result->assertExit();
        self::assertStringContainsString('Stopped by a signal. 1 handled', $result->stdout);
        $after = $this->consume('--channels=user.1 --stop-when-empty');
        self::assertSame([], $after->events(), 'what was handled is committed');
    }

    /** @return array<string, array{int}> */
    public static function signals(): array
    {
        return ['SIGTERM' => [15], 'SIGINT' => [2], 'SIGQUIT' => [3]];
    }

    public function testASignalLetsTheRunningCallbackFinish(): void
    {
        $this->classes(<<<'PHP'
            final class Slow
            {
                public function handle(Message $message): void
                {
                    $event = $message->getEvent();
                    file_put_contents('log', "start $event\n", FILE_APPEND);
                    usleep(800_000);
                    file_put_contents('log', "end $event\n", FILE_APPEND);
                }
            }
            PHP);
        $this->publish('user.1', 'a', 'b', 'c');
        $child = $this->startConsume('--channels=user.1 --handler=Slow');
        self::eventually(fn () => in_array('start a', $this->log(), true), 'the first record is being handled', 30);
        $child->signal(15)->wait()->assertExit();
        self::assertSame(['start a', 'end a'], $this->log());
        $rest = $this->consume('--channels=user.1 --stop-when-empty');
        self::assertSame(['b', 'c'], $rest->events(), 'nothing lost, nothing twice');
    }

    /**
     * Such an application exits at a signal, with the code 0 or 128 plus the signal.
     *
     * @dataProvider signals
     */
    #[DataProvider('signals')]
    public function testInAnApplicationWithAnEventDispatcher(int $signal): void
    {
        $this->classes(<<<'PHP'
            final class Slow
            {
                public function handle(Message $message): void
                {
                    echo "slow\n";
                    for ($until = microtime(true) + 1; microtime(true) < $until; usleep(20_000)) {
                    }
                    echo "finished\n";
                }
            }
            PHP);
        $this->publish('user.1', 'a', 'b');
        $child = $this->startPhp($this->application(), [
            'cwd' => $this->app,
            'args' => ['realtime:kafka:consume', '--channels=user.1', '--handler=Slow'],
        ]);
        $child->waitForOutput('/^slow$/m', 30);
        $result = $child->signal($signal)->wait();
        $result->assertExit();
        $pattern = "/finished\n(listener $signal\n)?(.|\n)*Stopped by a signal\\. 1 handled/";
        self::assertMatchesRegularExpression($pattern, $result->stdout);
        if ($signal !== SIGQUIT) {
            // The application watches it from Symfony 7.4 on.
            self::assertStringContainsString("listener $signal\n", $result->stdout);
        }
        self::assertSame(['b'], $this->consume('--channels=user.1 --stop-when-empty')->events());
    }

    /** @dataProvider signals */
    #[DataProvider('signals')]
    public function testTheGatewayInAnApplicationWithAnEventDispatcher(int $signal): void
    {
        $child = $this->startPhp($this->application(), [
            'cwd' => $this->app,
            'args' => ['realtime:gateway', '--port=0'],
            'env' => ['REALTIME_APP_ID' => '1', 'REALTIME_APP_KEY' => 'key', 'REALTIME_APP_SECRET' => bin2hex(random_bytes(16))],
        ]);
        $child->waitForOutput('/gateway listens on/', 30);
        $result = $child->signal($signal)->wait();
        $result->assertExit();
        self::assertStringContainsString('Stopped by a signal', $result->stdout);
    }

    /**
     * Our commands in an application with an event dispatcher.
     */
    private function application(): string
    {
        return <<<'PHP'
            @include 'vendor/autoload.php';
            require_once 'Symfony/Component/Console/autoload.php';
            require_once 'Symfony/Component/EventDispatcher/autoload.php';
            $dispatcher = new Symfony\Component\EventDispatcher\EventDispatcher();
            $dispatcher->addListener('console.signal', function ($event) {
                echo "listener {$event->getHandlingSignal()}\n";
            });
            $application = new Symfony\Component\Console\Application();
            $application->setDispatcher($dispatcher);
            foreach (Toporia\Realtime\Console\CommandList::of(Toporia\Realtime\Console\PlainHost::in(getcwd())) as $command) {
                method_exists($application, 'addCommand') ? $application->addCommand($command) : $application->add($command);
            }
            $application->run();
            PHP;
    }

    public function testRestartEndsTheWorkersOfThisDirectoryOnly(): void
    {
        $this->publish('user.1', 'a');
        $mine = $this->startConsume('--channels=user.1 --group=mine' . $this->group);
        $elsewhere = $this->startConsole(
            ['realtime:kafka:consume', '--channels=user.1', "--group=elsewhere$this->group"],
            ['cwd' => sys_get_temp_dir()]
        );
        $this->waitForMessage($mine, $elsewhere);
        $this->console('realtime:restart')->assertExit();
        $result = $mine->wait();
        $result->assertExit();
        self::assertStringContainsString('Stopped by realtime:restart. 1 handled', $result->stdout);
        self::assertTrue($elsewhere->isRunning());
        $elsewhere->signal(15)->wait()->assertExit();
        $next = $this->startConsume('--channels=user.1 --from=beginning');
        $this->waitForMessage($next);
        self::assertTrue($next->keepsRunning(0.6), 'a worker that starts after the mark continues');
        $next->signal(15)->wait()->assertExit();
    }

    public function testRestartReachesWorkersByTheConfiguredFile(): void
    {
        $this->configure("['restart_file' => getcwd() . '/mark']");
        $this->publish('user.1', 'a');
        $child = $this->startConsume('--channels=user.1');
        $this->waitForMessage($child);
        $this->console('realtime:restart')->assertExit();
        $child->wait()->assertExit();
        self::assertFileExists("$this->app/mark");
    }

    public function testATopicThatAppearsLaterIsReadFromItsBeginning(): void
    {
        $child = $this->startConsume('--channels=user.1');
        $topic = $this->channelTopic('user.1');
        $child->waitForOutput('/waiting for topic ' . preg_quote($topic, '/') . '/', 30);
        $this->createTopic($topic, 2);
        $this->publish('user.1', 'a', 'b', 'c');
        $child->waitForOutput('/ user\.1  c  /', 30);
        $result = $child->signal(15)->wait();
        $result->assertExit();
        self::assertStringContainsString('3 handled', $result->stdout);
    }

    public function testAnUnreachableKafkaIsWaitedFor(): void
    {
        $child = $this->startConsole(
            ['realtime:kafka:consume', '--channels=user.1'],
            ['cwd' => $this->app, 'env' => ['KAFKA_BROKERS' => '127.0.0.1:1']]
        );
        $child->waitForOutput('/waiting for Kafka: \S/', 30);
        self::assertTrue($child->isRunning());
        $result = $child->signal(15)->wait();
        $result->assertExit();
        self::assertStringContainsString('Stopped by a signal. 0 handled', $result->stdout);
    }

    private function waitForMessage(ChildProcess ...$children): void
    {
        foreach ($children as $child) {
            $child->waitForOutput('/ user\.1  a  /', 30);
        }
    }
}
