<?php

/**
 * The guides' configuration block, with strings and Java's names, has its documented effect on the wire.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Guides;

use PHPUnit\Framework\TestCase;
use Toporia\Realtime\Broker;
use Toporia\Realtime\EmbeddedBroker;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Tests\Support\ChildProcess;

final class ConfigurationBrokerTest extends TestCase
{
    private EmbeddedBroker $kafka;
    private ChildProcess $spy;
    private ?Broker $broker = null;

    protected function setUp(): void
    {
        $this->kafka = EmbeddedBroker::start();
        $this->spy = new ChildProcess([PHP_BINARY, __DIR__ . '/spy.php', $this->kafka->address()], getenv());
        Realtime::configure([]);
    }

    protected function tearDown(): void
    {
        $this->broker?->close();
        $this->spy->destroy();
        $this->kafka->stop();
        Realtime::configure([]);
    }

    public function testTheConfigurationBlockOfTheGuides(): void
    {
        $this->consumeOne($this->configured(
            ['compression.type' => 'gzip', 'batch.size' => '16384', 'linger.ms' => '10'],
            ['fetch.min.bytes' => '1024', 'fetch.max.wait.ms' => '500', 'max.partition.fetch.bytes' => '1048576']
        ));
        self::assertSame([1], array_unique($this->seen('produce', 'codec')), 'Not gzip.');
        self::assertSame([1024], array_values(array_unique($this->seen('fetch', 'min_bytes'))));
        self::assertSame([500], array_values(array_unique($this->seen('fetch', 'max_wait'))));
        self::assertSame([1048576], array_values(array_unique($this->seen('fetch', 'partition_bytes'))));
    }

    public function testOtherValuesHaveOtherEffects(): void
    {
        $this->consumeOne($this->configured(
            ['compression.type' => 'zstd'],
            ['fetch.min.bytes' => '1', 'fetch.max.wait.ms' => '150', 'max.partition.fetch.bytes' => '262144']
        ));
        self::assertSame([4], array_unique($this->seen('produce', 'codec')), 'Not zstd.');
        self::assertSame([1], array_values(array_unique($this->seen('fetch', 'min_bytes'))));
        self::assertSame([150], array_values(array_unique($this->seen('fetch', 'max_wait'))));
        self::assertSame([262144], array_values(array_unique($this->seen('fetch', 'partition_bytes'))));
    }

    public function testBatchSizeIsInBytesAndLingerWaitsForTheBatch(): void
    {
        $broker = $this->configured(['batch.size' => '16384', 'linger.ms' => '400'], []);
        // Connection and metadata first: they are not measured.
        $broker->publish('user.1', Message::event('user.1', 'first'));
        $broker->publishBatch([]);
        $start = microtime(true);
        $broker->publish('user.1', Message::event('user.1', 'lonely'));
        $this->spy->waitForOutput('/"api":"produce".*\n.*"api":"produce"/');
        $at = $this->seen('produce', 'at');
        self::assertGreaterThan(0.35, $at[1] - $start, 'linger.ms was not waited for.');

        for ($i = 0; $i < 60; $i++) {
            $broker->publish('user.1', Message::event('user.1', 'many', str_repeat('x', 1000)));
        }
        $broker->publishBatch([]);
        $sizes = array_slice($this->seen('produce', 'bytes'), 2);
        self::assertSame(60, array_sum(array_slice($this->seen('produce', 'records'), 2)));
        self::assertGreaterThanOrEqual(4, count($sizes), 'One batch took more than batch.size.');
        self::assertLessThanOrEqual(16384 + 1200, max($sizes));
        self::assertGreaterThan(10000, max($sizes), 'Batches were not filled.');
    }

    public function testAnEmptyStringIsUnsetAndAWrongOneNamesItsKey(): void
    {
        $this->consumeOne($this->configured(['compression.type' => ''], ['fetch.min.bytes' => '']));
        self::assertSame([0], array_unique($this->seen('produce', 'codec')));

        $this->expectException(ConfigurationException::class);
        $this->expectExceptionMessageMatches('/linger\.ms/');
        $this->configured(['linger.ms' => 'ten'], [])->publish('user.1', Message::event('user.1', 'x'));
    }

    /**
     * @param array<string, string> $producer
     * @param array<string, string> $consumer
     */
    private function configured(array $producer, array $consumer): Broker
    {
        $this->broker?->close();
        $port = $this->spy->waitForOutput('/"port":(\d+)/')[1];
        Realtime::configure(['default_broker' => 'kafka', 'brokers' => ['kafka' => [
            'driver' => 'kafka',
            'brokers' => explode(',', "127.0.0.1:$port"),
            'topic_prefix' => 'guides' . bin2hex(random_bytes(4)),
            'consumer_group' => 'guides' . bin2hex(random_bytes(4)),
            'producer_config' => $producer,
            'consumer_config' => $consumer,
        ]]]);

        return $this->broker = Realtime::broker('kafka');
    }

    private function consumeOne(Broker $broker): void
    {
        // Long enough to be worth compressing.
        $broker->publish('user.1', Message::event('user.1', 'order.created', str_repeat('realtime ', 50)));
        $broker->publishBatch([]);
        $broker->subscribe('user.1', static fn () => $broker->stopConsuming());
        $broker->consume(1000, 100);
        $this->spy->waitForOutput('/"api":"fetch"/');
    }

    /** @return list<int|float> */
    private function seen(string $api, string $what): array
    {
        $values = [];
        foreach (explode("\n", $this->spy->stdout()) as $line) {
            $request = json_decode($line, true);
            if (($request['api'] ?? null) === $api) {
                $values[] = $request[$what];
            }
        }

        return $values;
    }
}
