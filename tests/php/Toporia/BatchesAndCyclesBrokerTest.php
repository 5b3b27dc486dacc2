<?php

/**
 * Calls of the newer generation beyond the interface: batches, a loop over consume(), another group, health, metrics.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Toporia;

final class BatchesAndCyclesBrokerTest extends ToporiaTestCase
{
    public function testConsumeReturnsToItsCommandAfterEachCycle(): void
    {
        $result = $this->startToporia('Newer', '
            foreach (range(1, 5) as $i) {
                $manager->broadcast("user.1", "e$i", $i);
            }
            $class = "Toporia\Framework\Console\Commands\Realtime\BrokerHandlerConsumeCommand";
            exit((new $class($manager, "user.1", 5))->handle());
        ')->wait()->assertExit();
        self::assertMatchesRegularExpression("/\\A5 in (\\d+) cycles, group $this->group-handler\n\\z/", $result->stdout);
        preg_match('/in (\d+)/', $result->stdout, $cycles);
        // At most two in each, and a few before the group has formed.
        self::assertGreaterThanOrEqual(3, (int) $cycles[1]);
        self::assertLessThan(15, (int) $cycles[1]);
    }

    public function testElsewhereConsumeBlocksUntilItIsStopped(): void
    {
        $child = $this->startToporia('Newer', '
            $broker = $manager->broker("kafka");
            $broker->subscribe("user.1", fn ($message) => print $message->getEvent() . "\n");
            $manager->broadcast("user.1", "one", 1);
            $broker->consume(50, 1);
            echo "came back\n";
        ');
        $child->waitForOutput('/one/');
        usleep(300_000);
        self::assertStringNotContainsString('came back', $child->stdout());
        self::assertSame(['one', 'came back'], $child->signal()->wait()->assertExit()->lines());
    }

    public function testABatch(): void
    {
        $result = $this->startToporia('Newer', '
            use Toporia\Framework\Realtime\Message as TheirMessage;
            $messages = [];
            foreach (range(1, 20) as $i) {
                $messages[] = ["channel" => "user.$i", "message" => TheirMessage::event("user.$i", "e", $i)];
            }
            $messages[] = ["channel" => "bad\n", "message" => TheirMessage::event(null, "e", 1)];
            echo json_encode($manager->broker()->publishBatch($messages, 10000));
        ')->wait()->json();
        self::assertSame([20, 1], [$result['queued'], $result['failed']]);
        self::assertSame(
            ['queued', 'failed', 'queue_time_ms', 'flush_time_ms', 'total_time_ms', 'throughput'],
            array_keys($result)
        );
        self::assertIsInt($result['throughput']);
        self::assertCount(20, $this->envelopes("$this->prefix.user", 20));
    }

    public function testHealthAndNumbers(): void
    {
        $result = $this->startToporia('Newer', '
            $broker = $manager->broker("kafka");
            $manager->broadcast("user.1", "e", 1);
            $left = $broker->drain(10000);
            $up = $broker->healthCheck();
            $numbers = json_decode($broker->getJsonMetrics(), true);
            $config["brokers"]["kafka"]["brokers"] = "127.0.0.1:1";
            $down = (new RealtimeManager($config))->broker("kafka")->healthCheck();
            echo json_encode([
                $broker instanceof Toporia\Framework\Realtime\Contracts\HealthCheckableInterface,
                $left, $up->status, $numbers["producer"]["messages_delivered"], $broker->getPrometheusMetrics(),
                $down->status, $down->message,
            ]);
        ')->wait(40.0)->json();
        self::assertSame([true, 0, 'healthy', 1], array_slice($result, 0, 4));
        self::assertStringContainsString("toporia_realtime_producer_messages_delivered 1\n", $result[4]);
        self::assertSame('unhealthy', $result[5]);
        self::assertStringContainsString('127.0.0.1:1', $result[6]);
    }
}
