<?php

/**
 * Base of the Toporia tests: snippets run in a process with the doubles of one generation and this package.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Toporia;

use Toporia\Realtime\Tests\Support\BrokerTestCase;
use Toporia\Realtime\Tests\Support\ChildProcess;

abstract class ToporiaTestCase extends BrokerTestCase
{
    /** @return array<string, array{0: string}> */
    public static function generations(): array
    {
        return ['the older generation' => ['Older'], 'the newer generation' => ['Newer']];
    }

    /**
     * Starts a snippet after `$config` (the array of config/realtime.php) and `$manager` were created.
     *
     * @param array<string, mixed> $broker over the array that Toporia ships
     * @param array<string, mixed> $options of startPhp()
     */
    protected function startToporia(string $generation, string $code, array $broker = [], array $options = []): ChildProcess
    {
        $config = var_export($this->shipped($broker), true);
        $framework = var_export(__DIR__ . '/Doubles/framework.php', true);
        $options['env'] = ['TOPORIA_GENERATION' => $generation] + ($options['env'] ?? []);

        return $this->startPhp(
            "use Toporia\\Framework\\Realtime\\RealtimeManager;
            require $framework;
            \$config = $config;
            \$manager = new RealtimeManager(\$config);
            $code",
            ['layer' => false] + $options
        );
    }

    /**
     * The array of config/realtime.php as both generations ship it, with this test's broker.
     *
     * @param array<string, mixed> $broker
     *
     * @return array<string, mixed>
     */
    protected function shipped(array $broker = []): array
    {
        return [
            'default_transport' => 'memory',
            'default_broker' => 'kafka',
            'transports' => ['memory' => ['driver' => 'memory'], 'socketio' => ['driver' => 'socketio', 'port' => 3000]],
            'brokers' => [
                'redis' => ['driver' => 'redis', 'host' => '127.0.0.1', 'port' => 6379],
                'kafka' => $broker + [
                    'driver' => 'kafka',
                    'client' => 'auto',
                    'brokers' => explode(',', self::address()),
                    'topic_prefix' => $this->prefix,
                    'consumer_group' => $this->group,
                    'topic_strategy' => 'grouped',
                    'default_topic' => "$this->prefix.default",
                    'default_partitions' => 2,
                    'manual_commit' => false,
                    'buffer_size' => 100,
                    'flush_interval_ms' => 100,
                    'async_queue' => true,
                    'producer_pool' => false,
                    'pool_size' => 4,
                    'shared_memory' => false,
                    'queue_max_size' => 131072,
                    'batch_size' => 1000,
                    'circuit_breaker_threshold' => 5,
                    'circuit_breaker_timeout' => 60,
                    'dlq_enabled' => true,
                    'dlq_prefix' => 'dlq',
                    'dlq_max_retries' => 1,
                    'producer_config' => [
                        'security.protocol' => 'plaintext',
                        'compression.type' => '',
                        'batch.size' => '16384',
                        'linger.ms' => '10',
                        'acks' => 'all',
                        'max.in.flight.requests.per.connection' => '5',
                    ],
                    'consumer_config' => [
                        'auto.offset.reset' => 'earliest',
                        'session.timeout.ms' => '6000',
                        'max.poll.interval.ms' => '300000',
                        'fetch.min.bytes' => '1',
                        'fetch.wait.max.ms' => '100',
                        'max.partition.fetch.bytes' => '1048576',
                        'security.protocol' => 'plaintext',
                        'metadata.max.age.ms' => '300000',
                        'topic.metadata.refresh.interval.ms' => '300000',
                    ],
                ],
            ],
            'authorizers' => [],
            'presence' => ['enabled' => true, 'timeout' => 120],
            'rate_limit' => ['enabled' => true, 'messages_per_minute' => 60],
        ];
    }

    /**
     * The envelopes of a topic.
     *
     * @return list<array<string, mixed>>
     */
    protected function envelopes(string $topic, int $atLeast = 1): array
    {
        return array_map(
            static fn ($record): array => json_decode((string) $record->getPayload(), true),
            $this->consumeAll($topic, $atLeast)
        );
    }
}
