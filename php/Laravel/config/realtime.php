<?php

/**
 * Realtime over Kafka: what `php artisan vendor:publish --tag=realtime-config` puts into config/realtime.php.
 *
 * Every value of the environment is read here and nowhere else, so that a cached configuration works.
 */

declare(strict_types=1);

return [

    // The broker that broadcasts go to and workers read from.
    'default_broker' => env('REALTIME_BROKER', 'kafka'),

    'brokers' => [
        'kafka' => [
            // 'host:port,host:port', or a list. 'embedded' starts a broker in memory in this process, for tests.
            'brokers' => env('KAFKA_BROKERS', 'localhost:9092'),
            // Begins every topic: applications and environments that share a Kafka need one each.
            'topic_prefix' => env('KAFKA_TOPIC_PREFIX', 'realtime'),
            // Workers with the same group share the work.
            'consumer_group' => env('KAFKA_CONSUMER_GROUP', 'realtime'),
            // 'grouped': the topics below, and default_topic (the prefix) for every other channel.
            // 'one-per-channel': user.1 → realtime_user_1; for a handful of channels, never for one a user.
            'topic_strategy' => env('KAFKA_TOPIC_STRATEGY', 'grouped'),
            'topic_mapping' => [
                // 'private-orders.*' => ['topic' => 'realtime.orders', 'partitions' => 6],
            ],
            'default_topic' => env('KAFKA_DEFAULT_TOPIC'),
            'default_partitions' => env('KAFKA_DEFAULT_PARTITIONS'),
            'security' => [
                'protocol' => env('KAFKA_SECURITY_PROTOCOL'),
                'mechanism' => env('KAFKA_SASL_MECHANISM'),
                'username' => env('KAFKA_SASL_USERNAME'),
                'password' => env('KAFKA_SASL_PASSWORD'),
                'ca' => env('KAFKA_SSL_CA_LOCATION'),
            ],
            // Any property of librdkafka: 'compression.type' => 'lz4', 'linger.ms' => 5, …
            'producer_config' => [],
            'consumer_config' => [],
        ],
    ],

    // Messages that Kafka has not acknowledged when a process ends wait here and are sent later. false: no spool.
    'spool' => env('REALTIME_SPOOL', storage_path('realtime')),
    'application' => env('APP_NAME', 'laravel'),

    // What `php artisan realtime:kafka:consume` does with a message, by event name or pattern.
    'handlers' => [
        // 'order.*' => App\Realtime\OrderHandler::class,
    ],
    // Wraps every call of a handler: classes with handle(Message $message, callable $next).
    'middleware' => [],
    // Workers look at this file for realtime:restart.
    'restart_file' => storage_path('framework/realtime.restart'),

    // Who watches: Prometheus, a probe, the node exporter (docs/monitoring.md). host:port, files and directories.
    'metrics' => env('REALTIME_METRICS'),
    'metrics_textfile' => env('REALTIME_METRICS_TEXTFILE'),
    'heartbeat_file' => env('REALTIME_HEARTBEAT_FILE'),
    'liveness_timeout_ms' => env('REALTIME_LIVENESS_TIMEOUT_MS', 60000),

    // The log channel (config/logging.php) for failed messages, dead letters and what the extension itself has to say; null:
    // the default one. false: none.
    'log' => env('REALTIME_LOG_CHANNEL'),
    // The least serious level of the extension's own lines in it; null: everything but debug.
    'log_level' => env('REALTIME_LOG_LEVEL'),

    // null: OpenTelemetry where it is set up; false: off; or the name of a class (docs/tracing.md).
    'tracing' => null,

    // kafka:send and kafka:consume: a topic as it is, without channels and envelopes.
    'raw' => [
        'topic' => env('KAFKA_TOPIC'),
        'group' => env('KAFKA_GROUP', env('KAFKA_CONSUMER_GROUP', 'laravel')),
    ],

    // The WebSocket gateway; the key pair also signs /broadcasting/auth. `php artisan realtime:install` makes one.
    'gateway' => [
        'host' => env('REALTIME_GATEWAY_HOST', '127.0.0.1'),
        'port' => env('REALTIME_GATEWAY_PORT', 6001),
        'app_id' => env('REALTIME_APP_ID'),
        'key' => env('REALTIME_APP_KEY'),
        'secret' => env('REALTIME_APP_SECRET'),
        // Laravel's own convention: a plain Channel is public. The broadcast driver marks it; other broadcasts stay
        // private.
        'public_by_mark' => true,
        'public_channels' => ['public.*'],
        'allowed_origins' => array_values(array_filter(
            array_map('trim', explode(',', (string) env('REALTIME_ALLOWED_ORIGINS', '')))
        )),
        'ops_listen' => env('REALTIME_OPS_LISTEN', '127.0.0.1:6002'),
        // 32 bytes in base64; with it, what goes to EncryptedPrivateChannel is encrypted before it leaves this process.
        'encryption_master_key' => env('REALTIME_ENCRYPTION_MASTER_KEY'),
    ],

];
