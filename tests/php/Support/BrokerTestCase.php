<?php

/**
 * Base of every test that needs a broker: the embedded one or Apache Kafka, according to REALTIME_TEST_BROKERS.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Support;

use PHPUnit\Framework\TestCase;
use RuntimeException;
use Toporia\Realtime\Broker;
use Toporia\Realtime\EmbeddedBroker;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;

abstract class BrokerTestCase extends TestCase
{
    use RunsPhp;

    private static ?EmbeddedBroker $embedded = null;
    /** The topic prefix of this test: no test sees another's records. */
    protected string $prefix;
    /** The consumer group of this test. */
    protected string $group;
    /** @var list<Broker> */
    private array $brokers = [];

    protected function setUp(): void
    {
        parent::setUp();
        $unique = bin2hex(random_bytes(5));
        $this->prefix = "t$unique";
        $this->group = "g$unique";
        Realtime::configure(['default_broker' => 'kafka', 'brokers' => ['kafka' => $this->config()]]);
    }

    protected function tearDown(): void
    {
        foreach ($this->brokers as $broker) {
            $broker->close();
        }
        $this->brokers = [];
        Realtime::restore();
        Realtime::configure([]);
        parent::tearDown();
    }

    /**
     * `host:port` of the broker under test.
     */
    protected static function address(): string
    {
        if (self::isReal()) {
            return (string) getenv('REALTIME_TEST_BROKERS');
        }
        // A forked child must not start its own: it uses the one of its parent.
        if (self::$embedded === null) {
            self::$embedded = EmbeddedBroker::start();
        }

        return self::$embedded->address();
    }

    /**
     * True on Apache Kafka. For expectations that differ, never to skip a test: names that end in KafkaTest or
     * EmbeddedTest are for tests that run on one of the two only.
     */
    protected static function isReal(): bool
    {
        return !in_array(getenv('REALTIME_TEST_BROKERS'), [false, '', 'embedded', 'none'], true);
    }

    /**
     * `host:port` of a Kafka without automatic topic creation; for KafkaTest classes.
     */
    protected static function strictAddress(): string
    {
        return getenv('REALTIME_TEST_BROKERS_STRICT') ?: throw new RuntimeException(
            'REALTIME_TEST_BROKERS_STRICT is not set. Start one: tests/support/kafka.sh start --no-auto-create'
        );
    }

    /**
     * The base configuration of a test's brokers; the argument overrides it.
     *
     * @param array<string, mixed> $config
     *
     * @return array<string, mixed>
     */
    protected function config(array $config = []): array
    {
        return $config + [
            'brokers' => self::address(),
            'topic_prefix' => $this->prefix,
            'consumer_group' => $this->group,
        ];
    }

    /**
     * A broker of this test; closed at its end.
     *
     * @param array<string, mixed> $config over config()
     */
    protected function broker(array $config = []): Broker
    {
        return $this->brokers[] = new Broker($this->config($config));
    }

    /** @return array<string, string|null> */
    protected function childEnvironment(): array
    {
        return [
            'KAFKA_BROKERS' => self::address(),
            'KAFKA_TOPIC_PREFIX' => $this->prefix,
            'KAFKA_CONSUMER_GROUP' => $this->group,
        ];
    }

    /**
     * The name of a raw topic of this test.
     */
    protected function topic(string $name = 'topic'): string
    {
        return "$this->prefix.raw.$name";
    }

    /**
     * The topic of a channel with the default topic strategy, as in the guides.
     */
    protected function channelTopic(string $channel): string
    {
        return $this->prefix . '_' . preg_replace('/[^A-Za-z0-9-]/', '_', $channel);
    }

    /**
     * Creates a topic; an existing one stays as it is.
     */
    protected function createTopic(string $topic, int $partitions = 1): string
    {
        if (self::isReal()) {
            KafkaNode::createTopic(self::address(), $topic, $partitions);
        } else {
            self::address();
            self::$embedded?->createTopic($topic, $partitions);
        }

        return $topic;
    }

    /**
     * Every record of a topic, through a separate group; waits until there are this many, at most for `seconds`.
     *
     * @return list<Message> in the order of their offsets within each partition
     */
    protected function consumeAll(string $topic, int $atLeast = 0, float $seconds = 10.0): array
    {
        $messages = [];
        $deadline = microtime(true) + $seconds;
        $broker = $this->broker(['consumer_group' => $this->group . '-all-' . bin2hex(random_bytes(3))]);
        $broker->subscribeTopic($topic, static function (Message $message) use (&$messages): void {
            $messages[] = $message;
        });
        do {
            $broker->consume(200, 1000, 0, true);
        } while (count($messages) < $atLeast && microtime(true) < $deadline);
        $broker->close();

        return $messages;
    }

    /**
     * The number of records in a topic: from Kafka's own tool on Kafka, by reading them on the embedded broker.
     */
    protected function topicCount(string $topic): int
    {
        return self::isReal() ? KafkaNode::count(self::address(), $topic) : count($this->consumeAll($topic));
    }

    /**
     * Waits until the condition holds; fails with that text if it does not in time.
     *
     * @param callable(): bool $condition
     */
    protected static function eventually(callable $condition, string $what, float $seconds = 10.0): void
    {
        $deadline = microtime(true) + $seconds;
        while (!$condition()) {
            if (microtime(true) > $deadline) {
                self::fail("Not within $seconds s: $what");
            }
            usleep(20_000);
        }
        self::assertTrue(true, $what);
    }

    /** Waits until the clock shows another second, for timestamps that are compared in seconds. */
    protected static function waitForNextSecond(): int
    {
        $second = time();
        while (time() === $second) {
            usleep(5_000);
        }

        return time();
    }

    /** A free port below the range of outgoing connections, so that no connection takes it in the meantime. */
    protected static function freePort(): int
    {
        for ($i = 0; $i < 100; $i++) {
            $port = random_int(20_000, 31_999);
            $free = @stream_socket_server("tcp://127.0.0.1:$port");
            if (is_resource($free)) {
                fclose($free);

                return $port;
            }
        }
        self::fail('There is no free port between 20000 and 32000.');
    }
}
