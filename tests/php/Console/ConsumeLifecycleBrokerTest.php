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
        return ['SIGTERM' => [15], 'SIGINT' => [2]];
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
