<?php

/**
 * The chaos suite in its short form, each mode on a node of its own; `make chaos` runs it for longer.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Chaos;

use PHPUnit\Framework\TestCase;
use Toporia\Realtime\Tests\Support\ChildProcess;

final class ChaosKafkaTest extends TestCase
{
    /** Printed with the run's own table when it fails; the same seed repeats the same faults. */
    private const SEED = 42;

    /** @var array<string, ChildProcess> */
    private array $runs = [];

    protected function tearDown(): void
    {
        foreach ($this->runs as $run) {
            // The script stops the node that it started.
            $run->signal(15)->wait(15.0);
        }
        $this->runs = [];
        parent::tearDown();
    }

    public function testEveryModeKeepsItsPromise(): void
    {
        foreach (['at-least-once', 'at-most-once', 'exactly-once'] as $mode) {
            $arguments = ["--mode=$mode", '--messages=1500', '--seconds=12', '--nodes=1', '--seed=' . self::SEED];
            $this->runs[$mode] = new ChildProcess(
                [dirname(__DIR__, 3) . '/tests/chaos/run.sh', ...$arguments],
                getenv()
            );
        }
        foreach ($this->runs as $run) {
            $result = $run->wait(240.0)->assertExit();
            self::assertStringContainsString('Everything held.', $result->stdout);
        }
    }
}
