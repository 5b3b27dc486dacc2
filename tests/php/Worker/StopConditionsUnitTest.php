<?php

/**
 * Each reason for a worker to stop by itself, and the mark that realtime:restart sets.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Worker;

use PHPUnit\Framework\TestCase;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Worker\RestartSignal;
use Toporia\Realtime\Worker\StopConditions;

final class StopConditionsUnitTest extends TestCase
{
    private string $file;

    protected function setUp(): void
    {
        $this->file = sys_get_temp_dir() . '/realtime-restart-' . bin2hex(random_bytes(6));
    }

    protected function tearDown(): void
    {
        @unlink($this->file);
    }

    public function testLimitsOfTimeAndMemory(): void
    {
        $limits = fn (int $maxTime, int $maxMemory): ?string => StopConditions::of(
            $maxTime,
            $maxMemory,
            new RestartSignal($this->file)
        )->reason();
        self::assertNull($limits(0, 0));
        self::assertNull($limits(60, 1 << 40));
        self::assertSame('max_memory', $limits(60, 1));
        $stop = StopConditions::of(1, 0, new RestartSignal($this->file));
        usleep(1_000_000);
        self::assertSame('max_time', $stop->reason());
        self::assertGreaterThan(1 << 20, StopConditions::residentBytes());
    }

    public function testAWorkerStopsForAMarkSetAfterItStarted(): void
    {
        $signal = new RestartSignal($this->file);
        $signal->set();
        $worker = $signal->condition();
        self::assertNull($worker(), 'the mark was there before');
        $signal->set();
        self::assertSame('restart', $worker());
        self::assertNull($signal->condition()(), 'its successor starts after it');
    }

    public function testTheFirstMarkEverCountsToo(): void
    {
        $worker = (new RestartSignal($this->file))->condition();
        self::assertNull($worker());
        (new RestartSignal($this->file))->set();
        self::assertSame('restart', $worker());
    }

    public function testARemovedMarkStopsNoWorker(): void
    {
        $signal = new RestartSignal($this->file);
        $signal->set();
        $worker = $signal->condition();
        unlink($this->file);
        self::assertNull($worker());
    }

    public function testASymlinkInItsPlaceIsReplacedAndNotFollowed(): void
    {
        $victim = $this->file . '.victim';
        file_put_contents($victim, 'precious');
        symlink($victim, $this->file);
        (new RestartSignal($this->file))->set();
        self::assertSame('precious', file_get_contents($victim));
        self::assertFalse(is_link($this->file));
        unlink($victim);
    }

    public function testTheFileIsSpecificToUserApplicationAndDirectory(): void
    {
        $files = array_map(static fn (RestartSignal $signal) => $signal->file, [
            RestartSignal::of([], '/srv/a'),
            RestartSignal::of([], '/srv/a'),
            RestartSignal::of([], '/srv/b'),
            RestartSignal::of(['application' => 'shop'], '/srv/a'),
        ]);
        self::assertSame($files[0], $files[1]);
        self::assertCount(3, array_unique($files));
        self::assertStringStartsWith(sys_get_temp_dir(), $files[0]);
        self::assertSame('/run/x', RestartSignal::of(['restart_file' => '/run/x'], '/srv/a')->file);
    }

    public function testInTheSharedDirectoryOnlyTheUsersOwnMarkCounts(): void
    {
        (new RestartSignal($this->file, true))->set();
        self::assertNotNull((new RestartSignal($this->file, true))->current());
        if (posix_geteuid() === 0) {
            chown($this->file, 65534);
            self::assertNull((new RestartSignal($this->file, true))->current());
            self::assertNotNull((new RestartSignal($this->file))->current(), 'a file that was configured is trusted');
        }
    }

    public function testAnUnwritableFileIsNamed(): void
    {
        $this->expectException(ConfigurationException::class);
        $this->expectExceptionMessage('Cannot write the restart file /nowhere/at/all');
        (new RestartSignal('/nowhere/at/all'))->set();
    }

    public function testAnInvalidSettingIsNamed(): void
    {
        $this->expectException(ConfigurationException::class);
        $this->expectExceptionMessage('restart_file is a array');
        RestartSignal::of(['restart_file' => []], '/srv/a');
    }

    public function testTheFirstReasonIsKept(): void
    {
        $conditions = new StopConditions([
            static fn (): ?string => null, static fn (): string => 'max_time', static fn (): string => 'max_memory',
        ]);
        self::assertNull($conditions->met());
        self::assertSame('max_time', $conditions->reason());
        self::assertSame('max_time', $conditions->met());
    }
}
