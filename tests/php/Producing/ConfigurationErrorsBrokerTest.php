<?php

/**
 * Refused configurations and their error texts, and values that are accepted in several notations.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Producing;

use PHPUnit\Framework\Attributes\DataProvider;
use Toporia\Realtime\Broker;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;
use TypeError;

final class ConfigurationErrorsBrokerTest extends ProducingTestCase
{
    /**
     * @dataProvider refusedByTheConstructor
     *
     * @param array<string, mixed> $config
     */
    #[DataProvider('refusedByTheConstructor')]
    public function testTheConstructorRefuses(array $config, string ...$said): void
    {
        $message = self::thrown(ConfigurationException::class, static fn () => new Broker($config));
        foreach ($said as $part) {
            self::assertStringContainsString($part, $message);
        }
    }

    /** @return array<string, array<int, mixed>> */
    public static function refusedByTheConstructor(): array
    {
        $here = 'in the array given to the Broker';

        return [
            'a misspelt key' => [['topic_prefx' => 'x'], "'topic_prefx' $here", "'topic_prefix'?"],
            'another one' => [['brokrs' => 'x'], "'brokrs' $here", "'brokers'?"],
            'a key like no other' => [['zzzz' => 1], "'zzzz' $here", 'Known settings: acks,', 'topic_prefix'],
            'a misspelt key further down' => [['security' => ['usrname' => 'x']], "'usrname'", "'username'?"],
            'in a mapping' => [
                ['topic_mapping' => ['user.*' => ['topic' => 'x', 'partitons' => 2]]], "'user.*'", "'partitions'?",
            ],
            'a word for a number' => [['request_flush_ms' => 'soon'], "'request_flush_ms' $here", 'ms', "it is 'soon'"],
            'a number with its unit' => [['queue_full_ms' => '100 ms'], "'queue_full_ms'", "'100 ms'"],
            'a negative time' => [['request_flush_ms' => -1], 'from 0 to', 'it is -1'],
            'a fraction' => [['request_flush_ms' => 1.5], 'whole number', 'it is 1.5'],
            'neither true nor false' => [['loop_guard' => 'maybe'], 'true or false', "'maybe'"],
            'a list for text' => [['topic_prefix' => ['x']], 'must be text', 'it is a list'],
            'text for an array' => [['producer_config' => 'x'], 'an array of names and values', "it is 'x'"],
            'addresses that are a number' => [['brokers' => 5], "'host:port'", 'it is 5'],
            'the whole file in the place of addresses' => [
                ['brokers' => ['kafka' => 'localhost:9092']], 'an array with keys', 'Realtime::configure()',
            ],
            'a port that is none' => [['brokers' => 'kafka:99999'], "'host:port'", "'kafka:99999'"],
            'a prefix that no topic may have' => [['topic_prefix' => 'a/b'], "'topic_prefix'", "'/' at position 2"],
            'a word that is not among them' => [['produce' => 'soon'], "'async'", "'sync'", "it is 'soon'"],
            'brokers with a protocol of URLs' => [['brokers' => 'a:1,kafka://b:2'], "'host:port'", "it is 'kafka://b:2'"],
            'quotes of an environment file' => [
                ['brokers' => '"kafka:9092"'], "it is '\"kafka:9092\"'", 'Remove the quotes',
            ],
            'another strategy' => [['topic_strategy' => 'x'], "'one-per-channel'", "'grouped'", "it is 'x'"],
            'acks of 2' => [['acks' => 2], "'all'", 'it is 2'],
            'a spool that is a number' => [['spool' => 5], 'a directory', 'it is 5'],
            'a backoff above its limit' => [
                ['retry_backoff_ms' => 20000, 'retry_backoff_max_ms' => 5], 'retry_backoff_ms (20000)', '(5)',
            ],
            'another driver' => [['driver' => 'redis'], "must be 'kafka'", "'redis'"],
            'an unknown broker to start from' => [['broker' => 'kafak'], "'kafak'", "'kafka'"],
            'acks against exactly-once' => [
                ['delivery' => 'exactly-once', 'acks' => 1], 'acks=1', 'exactly-once', 'Remove one',
            ],
            'acks of the producer against exactly-once' => [
                ['delivery' => 'exactly-once', 'producer_config' => ['acks' => '0']], 'acks=0', 'exactly-once',
            ],
            'idempotence against exactly-once' => [
                ['delivery' => 'exactly-once', 'producer_config' => ['enable.idempotence' => 'false']],
                'enable.idempotence', 'exactly-once',
            ],
            'a truststore of Java' => [
                ['producer_config' => ['ssl.truststore.location' => '/x.jks']],
                'ssl.truststore.location', 'security.ca',
            ],
            'acks against idempotence' => [['acks' => 1, 'idempotence' => true], 'acks=1', "'idempotence'"],
        ];
    }

    /**
     * @dataProvider refusedByConfigure
     *
     * @param array<string, mixed> $config
     */
    #[DataProvider('refusedByConfigure')]
    public function testConfigureRefusesImmediately(array $config, string ...$said): void
    {
        $message = self::thrown(ConfigurationException::class, static fn () => Realtime::configure($config));
        foreach ($said as $part) {
            self::assertStringContainsString($part, $message);
        }
    }

    /** @return array<string, array<int, mixed>> */
    public static function refusedByConfigure(): array
    {
        return [
            'an unknown key' => [['defalut_broker' => 'kafka'], "'defalut_broker'", "'default_broker'?"],
            'in a broker' => [
                ['brokers' => ['kafka' => ['topic_prefx' => 'x']]],
                "'topic_prefx' in realtime.brokers.kafka", "'topic_prefix'?",
            ],
            'in the gateway' => [['gateway' => ['prt' => 1]], "'prt' in realtime.gateway", "'port'?"],
            'a broker that is text' => [
                ['brokers' => ['kafka' => 'localhost:9092']], 'realtime.brokers.kafka', "'localhost:9092'",
            ],
            'a default that is a list' => [['default_broker' => ['x']], 'realtime.default_broker', 'a list'],
            'a list' => [['a', 'b'], 'array of settings', 'a list'],
        ];
    }

    public function testConfigureThatIsRefusedChangesNothing(): void
    {
        Realtime::configure(['topic_prefix' => 'before', 'brokers' => ['kafka' => $this->config()]]);
        $broker = Realtime::broker();
        self::thrown(ConfigurationException::class, static fn () => Realtime::configure(['nonsense' => 1]));
        self::assertSame($broker, Realtime::broker());
        self::thrown(TypeError::class, static fn () => Realtime::configure('x'));
        self::assertSame($broker, Realtime::broker());
    }

    /**
     * @dataProvider refusedProperties
     *
     * @param array<string, mixed> $properties
     */
    #[DataProvider('refusedProperties')]
    public function testPropertiesOfLibrdkafkaAreRefusedOnFirstUse(array $properties, string ...$said): void
    {
        $broker = $this->broker(['producer_config' => $properties]);
        $message = self::thrown(
            ConfigurationException::class,
            static fn () => $broker->publish('c', Message::event('c', 'e'))
        );
        foreach (['producer_config', ...$said] as $part) {
            self::assertStringContainsString($part, $message);
        }
    }

    /** @return array<string, array<int, mixed>> */
    public static function refusedProperties(): array
    {
        return [
            'unknown' => [['lnger.ms' => 5], '"lnger.ms"', '"linger.ms"?'],
            'a word for a number' => [['linger.ms' => 'soon'], '"linger.ms"', 'to "soon"', 'Invalid value'],
            'a number out of range' => [['linger.ms' => -1], 'to "-1"', 'outside allowed range 0..900000.'],
            'a number with a unit' => [['linger.ms' => '2000K'], '"linger.ms"', 'without a unit'],
            'a number with a word' => [['message.timeout.ms' => '30 seconds'], '"message.timeout.ms"', 'read as 30'],
            'a number with an exponent' => [['queue.buffering.max.kbytes' => '1e6'], 'read as 1'],
            'another codec' => [['compression.type' => 'brotli'], '"compression.type"', '"brotli"'],
        ];
    }

    public function testAFileThatCannotBeReadIsNamed(): void
    {
        $broker = $this->broker(['security' => ['protocol' => 'ssl', 'ca' => '/no/ca.pem']]);
        self::assertStringContainsString(
            'ssl.ca.location is "/no/ca.pem", which cannot be read',
            self::thrown(ConfigurationException::class, static fn () => $broker->publish('c', Message::event('c', 'e')))
        );
    }

    public function testSettingsInTheNotationOfGuidesAndOtherClients(): void
    {
        $broker = $this->broker([
            'brokers' => [self::address(), ''],
            'request_flush_ms' => '250',
            'queue_full_ms' => ' 50 ',
            'max_hops' => 4.0,
            'loop_guard' => 'off',
            'spool_max_bytes' => '10M',
            'consumer_group' => '',
            'topic_strategy' => 'ONE_PER_CHANNEL',
            'security' => ['protocol' => '', 'username' => null],
            // The configuration that Toporia ships.
            'driver' => 'kafka', 'client' => 'auto', 'buffer_size' => 100, 'flush_interval_ms' => 100,
            'async_queue' => true, 'producer_pool' => ['size' => 4], 'dlq_enabled' => true, 'manual_commit' => true,
            'circuit_breaker_threshold' => 5,
            // Names of the Java client.
            'producer_config' => [
                'batch.size' => '16384', 'acks' => 'all', 'delivery.timeout.ms' => '30000',
                'buffer.memory' => 33_554_432, 'max.request.size' => '2000000', 'compression.type' => 'GZIP',
                'key.serializer' => 'org.apache.kafka.common.serialization.StringSerializer', 'linger.ms' => ' 1 ',
                'socket.keepalive.enable' => true, 'retries' => '',
            ],
            'consumer_config' => [
                'fetch.max.wait.ms' => '50', 'max.partition.fetch.bytes' => '1048576', 'max.poll.records' => 500,
                'auto.offset.reset' => 'earliest', 'enable.auto.commit' => 'false',
                'partition.assignment.strategy' => 'org.apache.kafka.clients.consumer.CooperativeStickyAssignor',
            ],
        ]);
        // Larger than librdkafka's default of 1 MB: max.request.size was taken.
        $broker->publish('user.1', Message::event('user.1', 'e', str_repeat('x', 1_000_100)));
        $broker->publish('user.1', Message::event('user.1', 'small'));
        $result = $broker->publishBatch([], 10_000);
        self::assertSame(0, $result['failed']);
        $received = [];
        $broker->subscribe('user.1', static function (Message $message) use (&$received): void {
            $received[] = $message->getEvent();
        });
        $broker->consume(200, 10, 2, true);
        $broker->close();
        self::assertContains('small', $received);
    }

    public function testAnIniSettingAndAVariableAreNamed(): void
    {
        $code = 'try { new Broker(["max_hops" => 8]); } catch (Throwable $e) { echo get_class($e), $e->getMessage(); }';
        $ini = $this->runPhp($code, ['ini' => ['toporia_realtime.request_flush_ms' => 'soon']])->assertExit()->stdout;
        self::assertStringContainsString(ConfigurationException::class, $ini);
        self::assertStringContainsString('INI setting toporia_realtime.request_flush_ms', $ini);
        $env = $this->runPhp($code, ['env' => ['KAFKA_TOPIC_STRATEGY' => 'x']])->assertExit()->stdout;
        self::assertStringContainsString(ConfigurationException::class, $env);
        self::assertStringContainsString('environment variable KAFKA_TOPIC_STRATEGY', $env);
    }

    public function testAPasswordIsNeverShown(): void
    {
        $secret = 'hunter2-hunter2';
        $configs = [
            ['security' => ['password' => [$secret]]],
            ['producer_config' => ['sasl.password' => [$secret]]],
            ['security' => ['protocol' => 'SASL_PLAIN', 'password' => $secret, 'username' => 'u']],
        ];
        foreach ($configs as $config) {
            $broker = null;
            $message = self::thrown(ConfigurationException::class, function () use ($config): void {
                $this->broker($config)->publish('c', Message::event('c', 'e'));
            });
            self::assertStringNotContainsString($secret, $message);
        }
    }
}
