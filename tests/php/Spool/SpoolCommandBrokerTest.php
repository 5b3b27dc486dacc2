<?php

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Spool;

use Toporia\Realtime\Tests\Console\ConsoleTestCase;

/**
 * realtime:spool: directories that it must not change, and those that it cannot read.
 */
final class SpoolCommandBrokerTest extends ConsoleTestCase
{
    private string $spool;

    protected function setUp(): void
    {
        parent::setUp();
        $this->spool = sys_get_temp_dir() . "/realtime-spool-$this->prefix";
        mkdir("$this->spool/closed/deep", 0755, true);
        chmod($this->app, 0755);
        chmod("$this->app/config", 0755);
        $config = ['spool' => $this->spool, 'brokers' => ['kafka' => $this->config()]];
        $this->configure(var_export($config, true));
    }

    protected function tearDown(): void
    {
        foreach (["$this->spool/closed/about.json", "$this->spool/closed/deep/about.json"] as $file) {
            @unlink($file);
        }
        array_map('rmdir', ["$this->spool/closed/deep", "$this->spool/closed", $this->spool]);
        parent::tearDown();
    }

    public function testOnlyADirectoryOfTheSpoolIsAdopted(): void
    {
        $about = '{"brokers":["a:9092"]}';
        file_put_contents("$this->spool/closed/deep/about.json", $about);
        $result = $this->console('realtime:spool --adopt=closed/deep')->assertExit(2);
        self::assertStringContainsString('is no directory of the spool', $result->stderr);
        self::assertSame($about, file_get_contents("$this->spool/closed/deep/about.json"));
    }

    public function testADirectoryThatCannotBeReadIsNotCalledEmpty(): void
    {
        $code = <<<'PHP'
            use Symfony\Component\Console\Tester\CommandTester;
            use Toporia\Realtime\Console\{Application, PlainHost};

            $application = new Application(PlainHost::in(getcwd()));
            $run = static function () use ($application): array {
                $tester = new CommandTester($application->find('realtime:spool'));
                $tester->execute([], ['capture_stderr_separately' => true]);
                $doctor = new CommandTester($application->find('realtime:doctor'));
                $doctor->execute(['--timeout' => '100']);

                return [$tester->getDisplay() . $tester->getErrorOutput(), $doctor->getDisplay()];
            };
            // The first run loads every class: the other user may not read them.
            $first = $run();
            chmod(getenv('SPOOL') . '/closed', 0);
            if (posix_geteuid() === 0) {
                posix_setgid(65534);
                posix_setuid(65534);
            }
            echo json_encode([$first, $run()]);
            PHP;
        $options = ['cwd' => $this->app, 'env' => ['SPOOL' => $this->spool]];
        [$asOwner, $asOther] = $this->runPhp($code, $options)->json();
        chmod("$this->spool/closed", 0755);
        self::assertSame("$this->spool is empty\n", $asOwner[0]);
        self::assertStringContainsString("$this->spool is empty", $asOwner[1]);
        self::assertSame("$this->spool/closed cannot be read by this user.\n", $asOther[0]);
        self::assertStringContainsString("$this->spool/closed cannot be seen by this user", $asOther[1]);
        self::assertStringNotContainsString("$this->spool is empty", $asOther[1]);
    }
}
