<?php

/**
 * examples/orders: its processes share and repeat messages as groups do, and its benchmark shows the gain of the page.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Examples;

use PHPUnit\Framework\TestCase;
use Toporia\Realtime\Tests\Support\ProcessResult;
use Toporia\Realtime\Tests\Support\RunsPhp;

final class OrdersEmbeddedTest extends TestCase
{
    use RunsPhp;

    public function testEachOrderIsChargedByOneWorkerAndReceivedByEveryGroup(): void
    {
        $result = $this->example('run.php', ['16'])->assertExit();
        self::assertStringContainsString(
            '16 orders: 16 charged (0 twice), 16 confirmations, 16 receipts',
            $result->stdout,
            $result->describe()
        );
        // Four partitions, two workers: each worker charged some of the orders.
        preg_match_all('/process (\d+) charged (\d+)/', $result->stdout, $shares);
        self::assertCount(2, array_unique($shares[1]), $result->describe());
        self::assertSame(16, array_sum($shares[2]));
    }

    public function testTheRequestIsTwentyTimesFasterAndSurvivesAFailedPayment(): void
    {
        $result = $this->example('benchmark.php', ['--scale=0.2', '--workers=6', '--seconds=0.8'])->assertExit();
        preg_match('/synchronous +(\d+) ms +(\d+)\n +asynchronous +(\d+) ms +(\d+)/', $result->stdout, $table);
        [, $slow, $few, $fast, $many] = array_map('intval', $table);
        self::assertGreaterThanOrEqual(400, $slow);
        self::assertLessThan($slow / 10, $fast, $result->describe());
        self::assertGreaterThan($few * 8, $many);

        preg_match('/synchronous +\d+ ms +(\d+) of (\d+)\n +asynchronous +\d+ ms +(\d+) of (\d+)/', $result->stdout, $down);
        self::assertSame($down[2], $down[1], 'Without payment no page that calls it works.');
        self::assertSame('0', $down[3]);
        self::assertGreaterThan(0, (int) $down[4]);
        self::assertSame(1, preg_match('/payment is back: (\d+) of the (\d+) orders/', $result->stdout, $back));
        self::assertSame($back[2], $back[1]);
    }

    /** @param list<string> $arguments */
    private function example(string $script, array $arguments): ProcessResult
    {
        $file = self::root() . "/examples/orders/$script";

        // With its own embedded broker, independent of the suite's broker.
        return $this->startScript($file, ['args' => $arguments, 'env' => ['KAFKA_BROKERS' => null]])->wait(90.0);
    }
}
