<?php

/**
 * realtime:doctor in artisan: it checks Laravel's configuration, also where the extension refuses it.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Laravel;

use Toporia\Realtime\Tests\Support\DoctorReport;

final class DoctorBrokerTest extends LaravelTestCase
{
    private function doctor(): DoctorReport
    {
        return new DoctorReport($this->artisan('realtime:doctor --json'));
    }

    public function testItReadsLaravelsConfiguration(): void
    {
        $report = $this->doctor();
        self::assertNotContains('error', $report->levels('configuration'), $report->result->describe());
        $report->expect('ok', 'client', '/connects as the application does/');
        $report->expect('ok', 'gateway', '/key and secret are valid/');
        $report->expect('ok', 'spool', "~storage/realtime~");
        self::assertStringNotContainsString(self::SECRET, $report->result->stdout);
    }

    public function testAConfigurationThatIsRefused(): void
    {
        $this->realtime("['brokers' => ['kafka' => ['consumer_grup' => 'x']], 'spol' => 'y']");
        $report = $this->doctor();
        $report->expect('error', 'configuration', "/unknown setting 'consumer_grup' in realtime\\.brokers\\.kafka/", "/'consumer_group'/");
        $report->expect('error', 'configuration', "/unknown setting 'spol'/", "/'spool'/");
        self::assertSame(1, $report->result->exitCode);
        self::assertContains('ok', $report->levels('client'), 'The rest is looked at without them.');
        // Nothing is sent with the settings that are left: they may name another Kafka.
        foreach (['realtime:kafka:publish user.1 e 1', 'realtime:gateway:kick --user=7'] as $command) {
            $result = $this->artisan($command)->assertExit(2);
            self::assertStringContainsString("Unknown setting 'spol'", $result->stderr . $result->stdout);
        }
        // Wrong usage exits with 2 here too, although Symfony uses 1.
        $this->artisan('realtime:doctor --timeout=soon')->assertExit(2);
    }
}
