<?php

/**
 * examples/saga: every order ends in a consistent state, also if each service is killed half-way.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Examples;

use PHPUnit\Framework\TestCase;
use Toporia\Realtime\Tests\Support\ProcessResult;
use Toporia\Realtime\Tests\Support\RunsPhp;

final class SagaEmbeddedTest extends TestCase
{
    use RunsPhp;

    private const ENDS = [
        'order 1: shipped    (book, card good)',
        'order 2: shipped    (book, card good)',
        'order 3: cancelled  (book, card declined)',
        'order 4: cancelled  (lamp, card good)',
        'order 5: shipped    (book, card good)',
    ];

    public function testEachOrderIsShippedOrUndone(): void
    {
        $result = $this->saga([])->assertExit();
        self::assertSame([...self::ENDS, '0 services killed, 0 orders inconsistent'], $result->lines());
    }

    public function testServicesKilledHalfWayLeaveConsistentOrders(): void
    {
        $result = $this->saga(['accidents'])->assertExit();
        self::assertSame([...self::ENDS, '7 services killed, 0 orders inconsistent'], $result->lines());
    }

    /** @param list<string> $arguments */
    private function saga(array $arguments): ProcessResult
    {
        $file = self::root() . '/examples/saga/run.php';

        // With its own embedded broker, independent of the suite's broker.
        return $this->startScript($file, ['args' => $arguments, 'env' => ['KAFKA_BROKERS' => null]])->wait(120.0);
    }
}
