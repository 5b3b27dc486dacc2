<?php

/**
 * A process that a signal, exit() or pcntl_exec() ends while messages are queued: they are sent, spooled or named in the
 * log first.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Producing;

use PHPUnit\Framework\Attributes\DataProvider;
use Toporia\Realtime\Tests\Support\ChildProcess;
use Toporia\Realtime\Tests\Support\ProcessResult;

final class EndBySignalBrokerTest extends ProducingTestCase
{
    private const SEND = 'for ($i = 0; $i < 50; $i++) { echo Realtime::broadcast("c", "e", $i), "\n"; }';

    /** @dataProvider signals */
    #[DataProvider('signals')]
    public function testWithKafkaEverythingIsSentAndNothingIsDelayed(int $signal): void
    {
        $result = $this->runPhp(self::SEND . "posix_kill(getmypid(), $signal); while (true) { usleep(50_000); }");
        self::assertSame($signal, $result->signal, $result->describe());
        self::assertLessThan(1.5, $result->seconds);
        self::assertSame('', $result->stderr);
        self::assertSame($result->lines(), array_column($this->envelopes('c', 50), 'id'));
    }

    /** @dataProvider signals */
    #[DataProvider('signals')]
    public function testWithoutKafkaEveryMessageIsNamedInTheLog(int $signal): void
    {
        $result = $this->away(self::SEND . "posix_kill(getmypid(), $signal); while (true) { usleep(50_000); }");
        self::assertSame($signal, $result->signal, $result->describe());
        self::assertLessThan(4.0, $result->seconds, 'no broker was known to be reachable: 2 s');
        self::assertCount(50, $result->lines());
        $this->assertNamed($result->lines(), $result->stderr);
    }

    /** @return array<string, array{int}> */
    public static function signals(): array
    {
        return ['SIGTERM' => [15], 'SIGINT' => [2], 'SIGHUP' => [1]];
    }

    public function testAnotherProgramInPlaceOfTheProcess(): void
    {
        $exec = self::SEND . ' pcntl_exec("/bin/echo", ["replaced"]);';
        $result = $this->runPhp($exec)->assertExit();
        self::assertSame('replaced', $result->lines()[50] ?? null, $result->describe());
        self::assertSame(array_slice($result->lines(), 0, 50), array_column($this->envelopes('c', 50), 'id'));

        $away = $this->away($exec)->assertExit();
        self::assertLessThan(4.0, $away->seconds);
        $this->assertNamed(array_slice($away->lines(), 0, 50), $away->stderr);

        $failed = $this->runPhp(self::SEND . '@pcntl_exec("/no/such/program"); ' . self::SEND)->assertExit();
        self::assertCount(100, $failed->lines());
        self::assertSame($failed->lines(), array_slice(array_column($this->envelopes('c', 150), 'id'), 50));
    }

    public function testWithASpoolEverythingIsOnDisk(): void
    {
        $spool = $this->directory();
        $code = self::SEND . 'posix_kill(getmypid(), 15); while (true) { usleep(50_000); }';
        $result = $this->away($code, ['REALTIME_SPOOL' => $spool]);
        self::assertSame(15, $result->signal, $result->describe());
        $this->assertNamed($result->lines(), $this->spooled($spool));
    }

    public function testAMessageSentAfterTheSignalIsNotLost(): void
    {
        $result = $this->away(<<<'PHP'
            posix_kill(getmypid(), 15);
            while (true) {
                fwrite(STDOUT, Realtime::broadcast('c', 'e') . "\n");
                usleep(1000);
            }
            PHP);
        $early = $this->away(<<<'PHP'
            fwrite(STDOUT, Realtime::broadcast('c', 'e') . "\n");
            posix_kill(getmypid(), 15);
            while (true) {
                fwrite(STDOUT, Realtime::broadcast('c', 'e') . "\n");
                usleep(1000);
            }
            PHP);
        self::assertSame([15, []], [$result->signal, $result->lines()], 'nothing was queued: it ends immediately');
        self::assertSame(15, $early->signal, $early->describe());
        self::assertNotSame([], $early->lines());
        $this->assertNamed($early->lines(), $early->stderr);
    }

    public function testASignalThatTheApplicationHandlesIsItsOwn(): void
    {
        $result = $this->away(<<<'PHP'
            pcntl_async_signals(true);
            Realtime::broadcast('c', 'e');
            pcntl_signal(15, fn () => print("handled\n"));
            Realtime::broadcast('c', 'e');
            usleep(400_000);
            Realtime::broadcast('c', 'e');
            posix_kill(getmypid(), 15);
            usleep(100_000);
            echo "goes on\n";
            pcntl_signal(15, SIG_DFL);
            echo Realtime::broadcast('c', 'last'), "\n";
            usleep(600_000);
            echo Realtime::broadcast('c', 'after'), "\n";
            posix_kill(getmypid(), 15);
            while (true) {
                usleep(50_000);
            }
            PHP);
        self::assertSame(15, $result->signal, $result->describe());
        [$handled, $on, $last, $after] = $result->lines();
        self::assertSame(['handled', 'goes on'], [$handled, $on]);
        $this->assertNamed([$last, $after], $result->stderr);
    }

    public function testASignalForAForkedChildDoesNotEndItsParent(): void
    {
        $result = $this->away(<<<'PHP'
            Realtime::broadcast('c', 'parent');
            if (($child = pcntl_fork()) === 0) {
                sleep(9);
                exit(1);
            }
            $child > 0 && posix_kill($child, 15);
            pcntl_waitpid($child, $status);
            echo pcntl_wtermsig($status), "\n";
            if (($child = pcntl_fork()) === 0) {
                fwrite(STDOUT, Realtime::broadcast('c', 'child') . "\n");
                posix_kill(getmypid(), 15);
                while (true) {
                    sleep(1);
                }
            }
            pcntl_waitpid($child, $status);
            echo pcntl_wtermsig($status), "\n";
            PHP);
        self::assertNull($result->signal, $result->describe());
        [$first, $id, $second] = $result->lines();
        self::assertSame(['15', '15'], [$first, $second]);
        $this->assertNamed([$id], $result->stderr);
    }

    public function testExitWithoutTheEndOfTheModule(): void
    {
        $code = self::SEND . 'FFI::cdef("void exit(int);")->exit(7);';
        $ini = ['ffi.enable' => '1', 'toporia_realtime.shutdown_flush_ms' => '500'];
        $options = ['ini' => extension_loaded('ffi') ? $ini : $ini + ['extension' => 'ffi']];
        $sent = $this->runPhp($code, $options);
        self::assertSame(7, $sent->exitCode, $sent->describe());
        self::assertCount(50, $this->envelopes('c', 50));
        $lost = $this->runPhp($code, $options + ['env' => ['KAFKA_BROKERS' => $this->deadAddress()]]);
        self::assertSame(7, $lost->exitCode, $lost->describe());
        $this->assertNamed($lost->lines(), $lost->stderr);
    }

    /** As FrankenPHP, which exits without the end of the module, and as SIGKILL: nothing runs after the response. */
    public function testAServerThatIsKilledHasItsMessagesInTheSpool(): void
    {
        $spool = $this->directory();
        $script = "$spool.php";
        file_put_contents($script, '<?php echo $id = Toporia\Realtime\Realtime::broadcast("c", "e");'
            . 'if (isset($_GET["kill"])) { file_put_contents(__FILE__ . ".id", $id); posix_kill(getmypid(), 9); }');
        $port = self::freePort();
        $command = [PHP_BINARY, '-d', 'extension=' . self::extension(), '-S', "127.0.0.1:$port", $script];
        $env = ['KAFKA_BROKERS' => $this->silentAddress(), 'REALTIME_SPOOL' => $spool] + getenv();
        $server = new ChildProcess($command, $env);
        try {
            $ids = [];
            for ($i = 0; $i < 200 && count($ids) < 3; $i++) {
                $answer = @file_get_contents("http://127.0.0.1:$port/");
                $ids = is_string($answer) ? [...$ids, $answer] : $ids;
                usleep($ids === [] ? 50_000 : 0);
            }
            @file_get_contents("http://127.0.0.1:$port/?kill");
            $ids[] = (string) file_get_contents("$script.id");
            $result = $server->wait(5.0);
        } finally {
            $server->destroy();
            array_map('unlink', glob("$script*") ?: []);
        }
        self::assertSame(9, $result->signal, $result->describe());
        self::assertCount(4, array_filter($ids, static fn (string $id) => strlen($id) === 36));
        $this->assertNamed($ids, $this->spooled($spool));
    }

    /** @param array<string, string> $env */
    private function away(string $code, array $env = []): ProcessResult
    {
        return $this->runPhp($code, ['env' => $env + ['KAFKA_BROKERS' => $this->deadAddress()]]);
    }

    /** @param list<string> $ids */
    private function assertNamed(array $ids, string $text): void
    {
        $missing = array_filter($ids, static fn (string $id) => !str_contains($text, $id));
        self::assertSame([], array_values($missing), "neither spooled nor named:\n" . substr($text, 0, 2000));
    }

    private function spooled(string $spool): string
    {
        return implode('', array_map('file_get_contents', glob("$spool/*/*.spool") ?: []));
    }
}
