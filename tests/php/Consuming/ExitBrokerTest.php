<?php

/**
 * Callbacks that end the process by exit or a fatal error: clean shutdown, exit code kept, record delivered again.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Consuming;

use PHPUnit\Framework\Attributes\DataProvider;

final class ExitBrokerTest extends ConsumingTestCase
{
    /** @dataProvider codes */
    #[DataProvider('codes')]
    public function testExitInACallback(string $exit, int $code, string $printed): void
    {
        $this->publish('user.1', range(1, 5));
        $result = $this->runPhp($this->worker("if (\$data === 3) { $exit; }"), ['timeout' => 10.0]);
        $result->assertExit($code);
        self::assertSame("1\n2\n{$printed}shutdown\ndestructor\n", $result->stdout);
        self::assertSame('', $result->stderr);
        self::assertLessThan(5.0, $result->seconds);
        self::assertSame([3, 4, 5], $this->rest('user.1'), 'those before it are committed, it is not');
    }

    /** @return array<string, array{string, int, string}> */
    public static function codes(): array
    {
        return [
            'exit(0)' => ['exit(0)', 0, ''],
            'exit(3)' => ['exit(3)', 3, ''],
            'die with a text' => ['die("bye\n")', 0, "bye\n"],
        ];
    }

    /** @dataProvider fatals */
    #[DataProvider('fatals')]
    public function testAFatalErrorInACallback(string $code, string $message): void
    {
        $this->publish('user.1', range(1, 5));
        $result = $this->runPhp(
            $this->worker("if (\$data === 3) { $code }"),
            ['timeout' => 15.0, 'ini' => ['memory_limit' => '32M']]
        );
        $result->assertExit(255);
        self::assertStringContainsString($message, $result->stderr);
        self::assertStringStartsWith("1\n2\nshutdown\n", $result->stdout);
        self::assertLessThan(8.0, $result->seconds);
        self::assertSame([3, 4, 5], $this->rest('user.1'), 'those before it are committed, it is not');
    }

    /** @return array<string, array{string, string}> */
    public static function fatals(): array
    {
        return [
            'memory' => ['$text = str_repeat("x", 64 << 20);', 'Allowed memory size'],
            'endless recursion' => ['$f = function ($f) { $f($f); }; $f($f);', 'Allowed memory size'],
            'a class twice' => ['eval("class Twice {}"); eval("class Twice {}");', 'declare class Twice'],
            'an error raised as fatal' => ['trigger_error("mine", E_USER_ERROR);', 'mine'],
        ];
    }

    public function testAFatalErrorWhileABatchIsInFlight(): void
    {
        $this->publish('user.1', range(1, 100));
        $result = $this->runPhp(<<<'PHP'
            register_shutdown_function(function () { echo "shutdown\n"; });
            $broker = new Broker();
            $broker->subscribeBatch('user.1', function (array $messages) {
                static $calls = 0;
                if (++$calls === 3) {
                    str_repeat('x', 1 << 30);
                }
            });
            $broker->consume(batchSize: 10);
            PHP, ['timeout' => 15.0, 'ini' => ['memory_limit' => '32M']]);
        $result->assertExit(255);
        self::assertStringContainsString("shutdown\n", $result->stdout);
        self::assertLessThan(8.0, $result->seconds);
        $rest = $this->rest('user.1');
        self::assertSame(range((int) $rest[0], 100), $rest);
        self::assertGreaterThan(2, $rest[0]);
    }

    public function testCallingAnUnknownFunctionIsAnExceptionLikeAnyOther(): void
    {
        $this->publish('user.1', range(1, 5));
        $code = $this->worker('if ($data === 3) { no_such_function(); }', var_export(self::AT_ONCE, true));
        $result = $this->runPhp($code, ['timeout' => 10.0]);
        $result->assertExit(255);
        self::assertStringContainsString('Call to undefined function no_such_function()', $result->stderr);
        self::assertStringContainsString('Broker->consume(', $result->stderr, 'the trace leads through consume()');
        self::assertSame([3, 4, 5], $this->rest('user.1'));
    }

    public function testAnExceptionInADestructorOfTheCallbacks(): void
    {
        $this->publish('user.1', range(1, 5));
        $result = $this->runPhp(<<<'PHP'
            final class Bomb
            {
                public function __destruct()
                {
                    throw new DomainException('from a destructor');
                }
            }
            $broker = new Broker(['dlq' => false, 'max_retries' => 0]);
            $broker->subscribe('user.1', function (Message $message) {
                if ($message->getData() === 3) {
                    $bomb = new Bomb();
                }
            });
            try {
                $broker->consume();
            } catch (DomainException $e) {
                echo $e->getMessage(), ' after ', $broker->stats()['handled'], "\n";
            }
            PHP, ['timeout' => 10.0]);
        $result->assertExit();
        self::assertSame("from a destructor after 2\n", $result->stdout);
        self::assertSame([3, 4, 5], $this->rest('user.1'));
    }

    public function testDieInATick(): void
    {
        $this->publish('user.1', range(1, 3));
        $result = $this->runPhp(<<<'PHP'
            register_shutdown_function(function () { echo "shutdown\n"; });
            $broker = new Broker();
            $broker->subscribe('user.1', fn () => null);
            $broker->onTick(function ($broker) {
                if ($broker->stats()['handled'] === 3) {
                    exit(4);
                }
            }, 20);
            $broker->consume();
            PHP, ['timeout' => 10.0]);
        $result->assertExit(4);
        self::assertSame("shutdown\n", $result->stdout);
        self::assertSame([], $this->rest('user.1'), 'what was handled before is committed');
    }

    public function testExitInOnAssigned(): void
    {
        $this->publish('user.1', [1]);
        $result = $this->runPhp(<<<'PHP'
            $broker = new Broker();
            $broker->subscribe('user.1', function () { echo "handled\n"; });
            $broker->onAssigned(function () { exit(5); });
            $broker->consume();
            PHP, ['timeout' => 10.0]);
        $result->assertExit(5);
        self::assertSame('', $result->stdout);
        self::assertLessThan(6.0, $result->seconds);
        self::assertSame([1], $this->rest('user.1'));
    }

    public function testTheScriptEndsWithoutClosing(): void
    {
        $this->publish('user.1', range(1, 5));
        $result = $this->runPhp(<<<'PHP'
            $broker = new Broker();
            $broker->subscribe('user.1', function (Message $message) use ($broker) { echo $message->getData(); });
            $broker->consume(maxMessages: 2);
            PHP, ['timeout' => 10.0]);
        $result->assertExit();
        self::assertSame('12', $result->stdout);
        self::assertLessThan(5.0, $result->seconds);
        self::assertSame([3, 4, 5], $this->rest('user.1'));
    }

    public function testMessagesSentBeforeExitAreDelivered(): void
    {
        $this->publish('in', [1, 2]);
        $this->runPhp(<<<'PHP'
            $broker = new Broker();
            $broker->subscribe('in', function (Message $message) {
                Realtime::broadcast('out', 'made', $message->getData());
                if ($message->getData() === 2) {
                    exit;
                }
            });
            $broker->consume();
            PHP, ['timeout' => 15.0])->assertExit();
        self::assertSame([1, 2], $this->rest('out'));
        self::assertSame([2], $this->rest('in'));
    }

    private function worker(string $callback, string $config = '[]'): string
    {
        return <<<PHP
            register_shutdown_function(function () { echo "shutdown\\n"; });
            final class Listener
            {
                public function __destruct()
                {
                    echo "destructor\\n";
                }
            }
            \$listener = new Listener();
            \$broker = new Broker($config);
            \$broker->subscribe('user.1', function (Message \$message) {
                \$data = \$message->getData();
                $callback
                echo "\$data\\n";
            });
            \$broker->consume();
            PHP;
    }
}
