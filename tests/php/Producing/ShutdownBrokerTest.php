<?php

/**
 * The end of a process: every message is delivered or reported, in bounded time, however the script ends.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Producing;

use PHPUnit\Framework\Attributes\DataProvider;

final class ShutdownBrokerTest extends ProducingTestCase
{
    public function testAScriptThatEndsNormallyLosesNothing(): void
    {
        $this->createTopic($this->channelTopic('user.1'), 12);
        $code = <<<'PHP'
            for ($i = 0; $i < 150_000; $i++) {
                Realtime::broadcast('user.1', 'order.created', ['id' => $i, 'total' => 9.5], "order-$i");
            }
            PHP;
        $result = $this->runPhp($code, ['timeout' => 60.0])->assertExit();
        self::assertSame('', $result->stderr);
        self::assertSame(150_000, $this->topicCount($this->channelTopic('user.1')));
    }

    /** @dataProvider endings */
    #[DataProvider('endings')]
    public function testEveryKindOfExit(string $ending, int $code): void
    {
        $result = $this->runPhp("for (\$i = 0; \$i < 300; \$i++) { Realtime::broadcast('c', 'e', \$i); } $ending");
        self::assertSame([$code, null], [$result->exitCode, $result->signal], $result->describe());
        self::assertCount(300, $this->envelopes('c', 300));
    }

    /** @return array<string, array{string, int}> */
    public static function endings(): array
    {
        return [
            'exit' => ['exit(3);', 3],
            'an uncaught exception' => ['throw new RuntimeException("x");', 255],
            'a fatal error' => ['(function (int $x) { eval("function fine() {} function fine() {}"); })(1);', 255],
            'out of memory' => [
                'ini_set("memory_limit", "16M"); $x = []; while (true) { $x[] = str_repeat("x", 9999); }', 255,
            ],
            'from a shutdown function' => ['register_shutdown_function(fn () => Realtime::stats());', 0],
            'from a destructor' => [
                '$keep = new class { function __destruct() { Realtime::stats(); } }; $keep2 = Realtime::broker();', 0,
            ],
        ];
    }

    public function testMessagesOfAShutdownFunctionAndADestructorArrive(): void
    {
        $this->runPhp(<<<'PHP'
            $keep = new class () {
                public function __destruct()
                {
                    Realtime::broadcast('c', 'destructor');
                }
            };
            register_shutdown_function(fn () => Realtime::broadcast('c', 'shutdown function'));
            Realtime::broadcast('c', 'script');
            PHP)->assertExit();
        $events = array_column($this->envelopes('c', 3), 'event');
        sort($events);
        self::assertSame(['destructor', 'script', 'shutdown function'], $events);
    }

    public function testWithoutABrokerItEndsInTimeAndReportsEachMessage(): void
    {
        $dead = $this->deadAddress();
        $log = $this->directory() . '/error.log';
        $result = $this->runPhp(
            'echo Realtime::broadcast("user.1", "e"), "\n", Realtime::broker()->send("raw", "x");',
            ['env' => ['KAFKA_BROKERS' => $dead], 'ini' => ['log_errors' => '1', 'error_log' => $log]]
        )->assertExit();
        self::assertLessThan(4.0, $result->seconds, 'no broker was known to be reachable: 2 s');
        self::assertGreaterThan(1.5, $result->seconds);
        $lines = (string) file_get_contents($log);
        [$first, $second] = $result->lines();
        self::assertMatchesRegularExpression("/error: .*$first.*{$this->prefix}_user_1.*$dead/", $lines);
        self::assertMatchesRegularExpression("/error: .*$second.*\"raw\".*$dead/", $lines);
    }

    public function testShutdownFlushMsIsKept(): void
    {
        $result = $this->runPhp('Realtime::broadcast("user.1", "e");', [
            'env' => ['KAFKA_BROKERS' => $this->silentAddress()],
            'ini' => ['toporia_realtime.shutdown_flush_ms' => '300'],
        ])->assertExit();
        self::assertLessThan(1.5, $result->seconds);
        self::assertStringContainsString('not delivered', $result->stderr);
    }

    public function testTenThousandLostMessagesDoNotFloodTheLog(): void
    {
        $log = $this->directory() . '/error.log';
        $result = $this->runPhp('for ($i = 0; $i < 10_000; $i++) { Realtime::broadcast("user.1", "e", $i); }', [
            'env' => ['KAFKA_BROKERS' => $this->deadAddress()],
            'ini' => ['toporia_realtime.shutdown_flush_ms' => '100', 'log_errors' => '1', 'error_log' => $log],
        ])->assertExit();
        self::assertLessThan(4.0, $result->seconds);
        $lines = (string) file_get_contents($log);
        self::assertMatchesRegularExpression('/9[0-9]{3}|10[ ,]?000/', $lines, 'the count of what was lost is there');
        self::assertLessThan(600, substr_count($lines, "\n"));
    }

    public function testAProcessThatSendsNothingExitsImmediately(): void
    {
        $result = $this->runPhp('Realtime::configure([]); Realtime::broker(); Message::event("c", "e");', [
            'env' => ['KAFKA_BROKERS' => $this->deadAddress()],
        ])->assertExit();
        self::assertLessThan(1.0, $result->seconds);
        self::assertSame('', $result->stderr);
    }
}
