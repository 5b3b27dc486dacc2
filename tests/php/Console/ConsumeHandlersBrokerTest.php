<?php

/**
 * Handlers and middleware of an application, run by realtime:kafka:consume.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Console;

use PHPUnit\Framework\Attributes\DataProvider;

final class ConsumeHandlersBrokerTest extends ConsoleTestCase
{
    private const LOG = 'final class Log { public function write(string $line): void '
        . '{ file_put_contents(getcwd() . "/log", "$line\n", FILE_APPEND); } }';

    protected function setUp(): void
    {
        parent::setUp();
        $this->classes(self::LOG . <<<'PHP'

            final class Every
            {
                public function __construct(private Log $log)
                {
                    $log->write('made');
                }

                public function handle(Message $message): void
                {
                    $this->log->write('every ' . $message->getEvent() . ' ' . $message->getData()['of']);
                }
            }

            final class Failing
            {
                public function __construct(private Log $log)
                {
                }

                public function handle(Message $message): void
                {
                    $this->log->write('try ' . $message->getEvent());
                    if ($message->getEvent() === 'bad') {
                        throw new DomainException('no stock');
                    }
                }

                public function failed(Message $message, Throwable $e): void
                {
                    $this->log->write('failed ' . $message->getEvent() . ': ' . $e->getMessage());
                }
            }

            /** The database is down for two seconds; a connection that was made before is dead for good. */
            final class Database
            {
                private bool $isDead = false;

                public function query(): void
                {
                    $file = getcwd() . '/down';
                    is_file($file) || file_put_contents($file, (string) (microtime(true) + 2));
                    $this->isDead = $this->isDead || microtime(true) < (float) file_get_contents($file);
                    if ($this->isDead) {
                        throw new (getenv('FAILURE'))('gone away');
                    }
                }
            }

            final class Querying
            {
                public function __construct(private Log $log, private Database $database)
                {
                }

                public function handle(Message $message): void
                {
                    $this->database->query();
                    $this->log->write('handled ' . $message->getEvent());
                }
            }

            final class Timing
            {
                public function __construct(private Log $log)
                {
                }

                public function handle(Message $message, callable $next): void
                {
                    $this->log->write('before');
                    $next($message);
                    $this->log->write('after');
                }
            }

            final class Forward
            {
                public function handle(Message $message): void
                {
                    Realtime::broadcast('user.2', 'forwarded', $message->getData());
                }
            }
            PHP);
    }

    public function testTheHandlerOption(): void
    {
        $this->publish('user.1', 'a', 'b');
        $report = $this->consume('--channels=user.1 --stop-when-empty --handler=Every');
        self::assertSame(2, $report->summary()['handled'], $report->result->describe());
        self::assertSame(['made', 'every a user.1', 'every b user.1'], $this->log());
        self::assertSame([], $report->of('message'), 'what is handled is not printed');
    }

    public function testHandlersByEventWithMiddleware(): void
    {
        $this->configure("['handlers' => ['order.*' => Every::class], 'middleware' => [Timing::class]]");
        $this->publish('user.1', 'order.paid', 'other');
        $report = $this->consume('--channels=user.1 --stop-when-empty');
        self::assertSame(['before', 'made', 'every order.paid user.1', 'after'], $this->log());
        self::assertSame(1, $report->summary()['unhandled']);
        self::assertSame('other', $report->of('unhandled')[0]['event']);
    }

    public function testAHandlerThatThrowsEndsItAndTheMessageStays(): void
    {
        $this->configure("['brokers' => ['kafka' => ['max_retries' => 0]]]");
        $this->publish('user.1', 'good', 'bad', 'never');
        for ($run = 1; $run <= 2; $run++) {
            $report = $this->consume('--channels=user.1 --stop-when-empty --handler=Failing --no-dlq');
            self::assertSame('error', $report->summary(1)['reason']);
            self::assertSame(['DomainException', 'no stock'], [
                $report->of('error')[0]['class'], $report->of('error')[0]['message'],
            ]);
        }
        self::assertSame(
            ['try good', 'try bad', 'failed bad: no stock', 'try bad', 'failed bad: no stock'],
            $this->log(),
            'what was handled is not repeated, what failed is'
        );
    }

    public function testFailedIsCalledOnceAfterTheLastAttempt(): void
    {
        $this->configure("['brokers' => ['kafka' => ['max_retries' => 2, 'retry_backoff_ms' => 10]]]");
        $this->publish('user.1', 'bad', 'good');
        $report = $this->consume('--channels=user.1 --stop-when-empty --handler=Failing');
        self::assertSame(2, $report->summary()['handled'], 'one of them as a dead letter');
        $log = $this->log();
        self::assertSame(['try bad', 'try bad', 'try bad', 'failed bad: no stock'], array_values(
            array_filter($log, static fn (string $line): bool => str_contains($line, 'bad'))
        ));
    }

    /** @dataProvider failures */
    #[DataProvider('failures')]
    public function testAHandlerWithADeadConnectionIsRenewed(string $failure): void
    {
        $this->configure("['brokers' => ['kafka' => ['retry_backoff_ms' => 50, 'retry_backoff_max_ms' => 500,"
            . " 'transient_exceptions' => [UnexpectedValueException::class]]]]");
        $this->publish('user.1', ...array_map(static fn (int $i): string => "e$i", range(1, 20)));
        putenv("FAILURE=$failure");
        $report = $this->consume('--channels=user.1 --stop-when-empty --handler=Querying --max-time=30');
        putenv('FAILURE');
        self::assertSame('empty', $report->summary()['reason'], $report->result->describe());
        $dead = $report->summary()['dead_lettered'];
        self::assertLessThanOrEqual($failure === 'RuntimeException' ? 2 : 0, $dead);
        self::assertCount(20 - $dead, $this->log());
        self::assertCount(1, $report->of('handlers_wait'));
        self::assertStringContainsString('gone away', $report->of('handlers_wait')[0]['error']);
        self::assertCount(1, $report->of('handlers_continue'));
    }

    /** @return array<string, array{string}> */
    public static function failures(): array
    {
        return ['transient' => ['UnexpectedValueException'], 'another' => ['RuntimeException']];
    }

    public function testMessagesSentByAHandlerAreDelivered(): void
    {
        $this->publish('user.1', 'a', 'b');
        $this->consume('--channels=user.1 --stop-when-empty --handler=Forward')->summary();
        $report = $this->consume('--channels=user.2 --stop-when-empty');
        self::assertSame(['forwarded', 'forwarded'], $report->events());
    }

    public function testAnInvalidHandlerIsWrongUsage(): void
    {
        foreach (
            [
                'Nobody' => "class 'Nobody' not found",
                'Log' => 'Log has no public method handle(Message $message): void',
            ] as $class => $text
        ) {
            $result = $this->console("realtime:kafka:consume --channels=user.1 --handler=$class")->assertExit(2);
            self::assertStringContainsString("--handler: ", $result->stderr);
            self::assertStringContainsString($text, $result->stderr);
            self::assertSame('', $result->stdout);
        }
    }

    public function testAMisspeltSettingIsReportedWithTheNearestName(): void
    {
        $this->configure("['brokers' => ['kafka' => ['topic_prefx' => 'x']]]");
        $result = $this->console('realtime:kafka:consume --channels=user.1')->assertExit(2);
        self::assertStringContainsString('topic_prefx', $result->stderr);
        self::assertStringContainsString('topic_prefix', $result->stderr);
    }
}
