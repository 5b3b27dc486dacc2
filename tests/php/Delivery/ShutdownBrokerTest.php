<?php

/**
 * SIGTERM during a retry delay, a rebalance or a Kafka outage: exit code 0, within a bound.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Delivery;

use PHPUnit\Framework\Attributes\DataProvider;
use Toporia\Realtime\EmbeddedBroker;
use Toporia\Realtime\Tests\Support\ChildProcess;

final class ShutdownBrokerTest extends DeliveryTestCase
{
    /** The longest a stop may take, in seconds. */
    private const BOUND = 5.0;
    private const LONG = '["retry_backoff_ms" => 60000, "retry_backoff_max_ms" => 60000]';

    public function testWhileARecordWaitsForItsRetry(): void
    {
        $this->produce(['A1', 'B1']);
        $child = $this->startPhp($this->script(
            'if ($record === "A1") { throw new DomainException("no"); }',
            self::LONG
        ));
        $this->waitFor('B1 done');
        $this->assertEndsInTime($child);
        self::assertSame(['A1', 'B1'], $this->left(), 'nothing is lost');
        self::assertSame([], $this->letters());
    }

    public function testWhileATransactionWaitsForItsRetry(): void
    {
        $this->produce(['A1', 'B1']);
        $child = $this->startPhp($this->script(
            'if ($record === "B1") { throw new DomainException("no"); }',
            '["delivery" => "exactly-once"] + ' . self::LONG
        ));
        $this->waitFor('B1#1');
        $this->assertEndsInTime($child);
        self::assertContains('B1', $this->left());
    }

    public function testDuringARebalance(): void
    {
        $this->produce(['A1', 'B1']);
        $first = $this->startPhp($this->script(''));
        $this->waitFor('B1 done');
        // The second member requests to join: the group rebalances until the first one has rejoined. No member sees when
        // that request arrives.
        $second = $this->startPhp(self::up($this->script('')));
        $second->waitForOutput('/^up$/m');
        usleep(120_000);
        $this->assertEndsInTime($first);
        $this->assertEndsInTime($second);
        // The embedded broker accepts no commit during a rebalance; Kafka does.
        self::assertSame([], array_diff($this->left(), self::isReal() ? [] : ['A1', 'B1']));
    }

    /** @dataProvider settings */
    #[DataProvider('settings')]
    public function testWithKafkaDown(string $config, string $code): void
    {
        [$kafka, $child] = $this->startOnItsOwn($config, $code);
        $this->waitFor('B1#1');
        $kafka->stop();
        // The connections are lost at once; nothing reports when librdkafka has begun to reconnect.
        usleep(300_000);
        $this->assertEndsInTime($child);
    }

    /** librdkafka's own call waits for a coordinator without a limit. */
    public function testWithoutACoordinatorForTheGroupOfATransaction(): void
    {
        $code = '$broker->send("results", $record); usleep(500_000);';
        [$kafka, $child] = $this->startOnItsOwn('["delivery" => "exactly-once"]', $code);
        $this->waitFor('A1 done');
        $kafka->failNext('FindCoordinator', 'COORDINATOR_NOT_AVAILABLE', 10_000);
        $this->waitFor('B1 done');
        // The request for the coordinator follows within the commit interval, and is repeated in vain.
        usleep(700_000);
        $this->assertEndsInTime($child);
    }

    /** @return array<string, array{string, string}> */
    public static function settings(): array
    {
        $throw = 'if ($record === "A1") { throw new DomainException("no"); }';

        return [
            'idle' => ['[]', ''],
            'a record waits' => [self::LONG, $throw],
            'a result is not delivered' => ['[]', '$broker->send("results", $record);'],
            'a dead letter is not written' => [
                '["max_retries" => 1, "retry_backoff_ms" => 150, "retry_backoff_max_ms" => 150]', $throw,
            ],
            'at-most-once' => ['["delivery" => "at-most-once"]', ''],
            'exactly-once' => ['["delivery" => "exactly-once"]', '$broker->send("results", $record);'],
        ];
    }

    public function testWithoutAFirstConnection(): void
    {
        $config = '["brokers" => "127.0.0.1:1", "shutdown_flush_ms" => 500]';
        $child = $this->startPhp(self::up($this->script('', $config)));
        $child->waitForOutput('/^up$/m');
        $this->assertEndsInTime($child);
    }

    /**
     * A worker, and a private broker with two records in it.
     *
     * @return array{EmbeddedBroker, ChildProcess}
     */
    private function startOnItsOwn(string $config, string $code): array
    {
        $kafka = EmbeddedBroker::start();
        $sender = $this->broker(['brokers' => $kafka->address()]);
        foreach (['A1', 'B1'] as $value) {
            $sender->send($this->topic(), $value, $value[0], [], 0);
        }
        $sender->close();
        $brokers = var_export(['brokers' => $kafka->address()], true);
        $child = $this->startPhp($this->script($code, "$brokers + $config"));

        return [$kafka, $child];
    }

    /** A script that prints `up` once consume() has begun: before it, PHP's default handling of signals applies. */
    private static function up(string $script): string
    {
        $tick = "\$broker->onTick(static function (): void {\n    echo \"up\\n\";\n});\n";

        return str_replace('$handled =', "$tick\$handled =", $script);
    }

    private function waitFor(string $line): void
    {
        self::eventually(fn (): bool => in_array($line, $this->noted(), true), $line, 15.0);
    }

    private function assertEndsInTime(ChildProcess $child): void
    {
        $start = microtime(true);
        $result = $child->signal(SIGTERM)->wait(15.0)->assertExit();
        self::assertLessThan(self::BOUND, microtime(true) - $start, $result->describe());
        self::assertStringContainsString('signal', $result->stdout, 'consume() has returned');
    }
}
