<?php

/**
 * The tests' own tool for child processes distinguishes exit codes, signals and timeouts.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Support;

use PHPUnit\Framework\TestCase;

final class ChildProcessUnitTest extends TestCase
{
    use RunsPhp;

    public function testOutputAndExitCode(): void
    {
        $result = $this->runPhp('echo "out"; fwrite(STDERR, "err"); exit(3);')->assertExit(3);
        self::assertSame(['out', 'err', null], [$result->stdout, $result->stderr, $result->signal]);
    }

    public function testMoreOutputThanAPipeHolds(): void
    {
        self::assertSame(1_000_000, strlen($this->runPhp('echo str_repeat("x", 1000000);')->assertExit()->stdout));
    }

    public function testSignal(): void
    {
        $child = $this->startPhp('echo "ready\n"; sleep(30);');
        $child->waitForOutput('/^ready$/m');
        $result = $child->signal(15)->wait();
        self::assertSame([null, 15, false], [$result->exitCode, $result->signal, $result->timedOut]);
    }

    public function testTimeout(): void
    {
        $result = $this->runPhp('echo "before"; sleep(30);', ['timeout' => 0.5]);
        self::assertTrue($result->timedOut);
        self::assertSame('before', $result->stdout);
        self::assertLessThan(5.0, $result->seconds);
    }

    public function testEnvironmentArgumentsAndInput(): void
    {
        $code = 'echo json_encode([getenv("A"), getenv("HOME"), $argv[1], stream_get_contents(STDIN)]);';
        $options = ['env' => ['A' => 'b', 'HOME' => null], 'args' => ['--x'], 'stdin' => 'in'];
        self::assertSame(['b', false, '--x', 'in'], $this->runPhp($code, $options)->json());
    }

    public function testARunOfTheTestsRemovesTheTemporaryFilesOfKilledOnes(): void
    {
        $directory = sys_get_temp_dir() . '/realtime-runs-' . bin2hex(random_bytes(4));
        $alive = "$directory/realtime-tests." . getmypid();
        mkdir("$directory/realtime-tests.99999999/left", 0700, true);
        mkdir($alive);
        $command = [self::root() . '/tests/support/phpunit.sh', 'without-extension', '--version'];
        $run = $this->children[] = new ChildProcess($command, ['TMPDIR' => $directory] + getenv());
        $run->wait(20.0)->assertExit();
        self::assertSame([$alive], glob("$directory/*"));
        array_map('rmdir', [$alive, $directory]);
    }

    public function testTheLayerAndTheExtensionAreLoadedAsInThisProcess(): void
    {
        $code = 'echo json_encode([extension_loaded("toporia_realtime"), class_exists(Realtime::class)]);';
        self::assertSame([extension_loaded('toporia_realtime'), true], $this->runPhp($code)->json());
        self::assertSame([false, true], $this->runPhp($code, ['extension' => false])->json());
    }
}
