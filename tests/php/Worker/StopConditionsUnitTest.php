<?php

/**
 * Each reason for a worker to stop by itself, and the mark that realtime:restart sets.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Worker;

use PHPUnit\Framework\TestCase;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Worker\ConsumeOptions;
use Toporia\Realtime\Worker\MaxMemory;
use Toporia\Realtime\Worker\MaxTime;
use Toporia\Realtime\Worker\RestartRequested;
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

    public function testMaxTime(): void
    {
        self::assertSame('max_time', (new MaxTime(0))->reason());
        self::assertNull((new MaxTime(60))->reason());
    }

    public function testMaxMemory(): void
    {
        $usage = 10;
        $condition = new MaxMemory(20, static function () use (&$usage): int {
            return $usage;
        });
        self::assertNull($condition->reason());
        $usage = 20;
        self::assertSame('max_memory', $condition->reason());
        self::assertSame('max_memory', (new MaxMemory(1))->reason());
        self::assertNull((new MaxMemory(1 << 40))->reason());
        self::assertGreaterThan(1 << 20, MaxMemory::resident());
    }

    public function testAWorkerStopsForAMarkSetAfterItStarted(): void
    {
        $signal = new RestartSignal($this->file);
        $signal->set();
        $worker = new RestartRequested($signal);
        self::assertNull($worker->reason(), 'the mark was there before');
        $signal->set();
        self::assertSame('restart', $worker->reason());
        self::assertNull((new RestartRequested($signal))->reason(), 'its successor starts after it');
    }

    public function testTheFirstMarkEverCountsToo(): void
    {
        $worker = new RestartRequested(new RestartSignal($this->file));
        self::assertNull($worker->reason());
        (new RestartSignal($this->file))->set();
        self::assertSame('restart', $worker->reason());
    }

    public function testARemovedMarkStopsNoWorker(): void
    {
        $signal = new RestartSignal($this->file);
        $signal->set();
        $worker = new RestartRequested($signal);
        unlink($this->file);
        self::assertNull($worker->reason());
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
        $files = array_map(static fn (RestartSignal $signal) => $signal->file(), [
            RestartSignal::of([], '/srv/a'),
            RestartSignal::of([], '/srv/a'),
            RestartSignal::of([], '/srv/b'),
            RestartSignal::of(['application' => 'shop'], '/srv/a'),
        ]);
        self::assertSame($files[0], $files[1]);
        self::assertCount(3, array_unique($files));
        self::assertStringStartsWith(sys_get_temp_dir(), $files[0]);
        self::assertSame('/run/x', RestartSignal::of(['restart_file' => '/run/x'], '/srv/a')->file());
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
        $conditions = new StopConditions(new MaxTime(0), new MaxMemory(1));
        self::assertNull($conditions->met());
        self::assertSame('max_time', $conditions->reason());
        self::assertSame('max_time', $conditions->met());
    }

    public function testOnlyConditionsOfTheOptionsAreChecked(): void
    {
        $signal = new RestartSignal($this->file);
        $raw = ['channels' => 'a'];
        self::assertNull(StopConditions::for(ConsumeOptions::fromArray($raw), $signal)->reason());
        $memory = StopConditions::for(ConsumeOptions::fromArray($raw + ['max-memory' => '1K']), $signal);
        self::assertSame('max_memory', $memory->reason());
    }
}
