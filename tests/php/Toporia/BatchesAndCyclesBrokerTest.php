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
        self::assertTrue($child->keepsRunning(0.3));
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

    public function testABatchHandlerReceivesBatchesAndFailedMessagesAreRetried(): void
    {
        $result = $this->startToporia('Newer', '
            use Toporia\Framework\Realtime\Consumer\Contracts\BatchConsumerHandlerInterface;
            use Toporia\Framework\Realtime\Consumer\Contracts\ConsumerContext;
            $broker = $manager->broker("kafka");
            $handler = new class ($broker) implements BatchConsumerHandlerInterface {
                public array $handled = [];
                public array $attempts = [];
                public array $failed = [];

                public function __construct(private object $broker)
                {
                }

                public function getName(): string
                {
                    return "sums";
                }

                public function getChannels(): array
                {
                    return ["user.*"];
                }

                public function getBatchSize(): int
                {
                    return 10;
                }

                public function getBatchTimeout(): int
                {
                    return 100;
                }

                public function shouldCommitPerBatch(): bool
                {
                    return true;
                }

                public function handleBatch(array $messages, ConsumerContext $context): array
                {
                    $failed = [];
                    foreach ($messages as $i => $message) {
                        $n = $message->getData();
                        $this->attempts[$n] = ($this->attempts[$n] ?? 0) + 1;
                        // 2 and 5 fail the first time.
                        if (in_array($n, [2, 5], true) && $this->attempts[$n] === 1) {
                            $failed[] = $i;
                        } else {
                            $this->handled[] = $n;
                        }
                    }
                    if (count($this->handled) === 8) {
                        $this->broker->stopConsuming();
                    }

                    return $failed;
                }

                public function onBatchFailed(array $messages, array $failed, Throwable $e, ConsumerContext $context): void
                {
                    $this->failed[] = [$context->handlerName, count($failed), $e->getMessage()];
                }
            };
            foreach (range(0, 7) as $n) {
                $manager->broadcast("user.1", "e", $n);
            }
            $broker->drain(10000);
            $broker->consumeBatch($handler, 200);
            sort($handler->handled);
            ksort($handler->attempts);
            echo json_encode([$handler->handled, array_values($handler->attempts), $handler->failed[0][0]]);
        ', ['retry_backoff_ms' => 10])->wait()->json();
        self::assertSame([[0, 1, 2, 3, 4, 5, 6, 7], [1, 1, 2, 1, 1, 2, 1, 1], 'sums'], $result);
    }

    public function testTheOtherMethodsOfTheFrameworksBrokerExist(): void
    {
        $result = $this->startToporia('Newer', '
            $broker = $manager->broker("kafka");
            echo json_encode([$broker->getDlq(), $broker->getAsyncQueue(), $broker->getSharedQueue(),
                $broker->getProducerPool(), $broker->getBatchProducer(), $broker->flushAsyncQueue(true)]);
        ')->wait()->json();
        self::assertSame([null, null, null, null, null, 0], $result);
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
