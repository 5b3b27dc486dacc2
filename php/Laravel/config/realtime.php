<?php

/**
 * Realtime over Kafka. Published as config/realtime.php by `php artisan vendor:publish --tag=realtime-config`.
 *
 * Environment variables are only read in this file, so that a cached configuration works.
 */

declare(strict_types=1);

return [

    // The default broker, for broadcasts and workers.
    'default_broker' => env('REALTIME_BROKER', 'kafka'),

    'brokers' => [
        'kafka' => [
            // 'host:port,host:port', or a list. 'embedded' starts an in-memory broker in this process, for tests.
            'brokers' => env('KAFKA_BROKERS', 'localhost:9092'),
            // Prefix of every topic: applications and environments that share a Kafka need different prefixes.
            'topic_prefix' => env('KAFKA_TOPIC_PREFIX', 'realtime'),
            // Workers with the same group share the partitions.
            'consumer_group' => env('KAFKA_CONSUMER_GROUP', 'realtime'),
            // 'grouped': the topics below, and default_topic (the prefix) for all other channels.
            // 'one-per-channel': user.1 → realtime_user_1; for a few channels, never for one channel per user.
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
                // OAUTHBEARER: 'oidc', 'aws-msk-iam' or an invokable class; the rest belongs to 'oidc'.
                'token' => env('KAFKA_SASL_OAUTHBEARER_TOKEN'),
                'token_endpoint' => env('KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT'),
                'client_id' => env('KAFKA_SASL_OAUTHBEARER_CLIENT_ID'),
                'client_secret' => env('KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET'),
                'scope' => env('KAFKA_SASL_OAUTHBEARER_SCOPE'),
                'ca' => env('KAFKA_SSL_CA_LOCATION'),
            ],
            // Any property of librdkafka: 'compression.type' => 'lz4', 'linger.ms' => 5, …
            'producer_config' => [],
            'consumer_config' => [],
        ],
    ],

    // Messages that Kafka has not acknowledged when a process ends are stored here and sent later. false: no spool.
    'spool' => env('REALTIME_SPOOL', storage_path('realtime')),
    'application' => env('APP_NAME', 'laravel'),

    // Handlers of `php artisan realtime:kafka:consume`, by event name or pattern.
    'handlers' => [
        // 'order.*' => App\Realtime\OrderHandler::class,
    ],
    // Middleware around every handler: classes with handle(Message $message, callable $next).
    'middleware' => [],
    // The file that realtime:restart changes and workers watch.
    'restart_file' => storage_path('framework/realtime.restart'),

    // Monitoring by Prometheus, probes or the node exporter (docs/monitoring.md): host:port, files, directories.
    'metrics' => env('REALTIME_METRICS'),
    'metrics_textfile' => env('REALTIME_METRICS_TEXTFILE'),
    'heartbeat_file' => env('REALTIME_HEARTBEAT_FILE'),
    'liveness_timeout_ms' => env('REALTIME_LIVENESS_TIMEOUT_MS', 60000),

    // Log channel (config/logging.php) for failed messages, dead letters and the extension's own messages. null: the
    // default channel; false: no logging.
    'log' => env('REALTIME_LOG_CHANNEL'),
    // Minimum level of the extension's own messages; null: everything except debug.
    'log_level' => env('REALTIME_LOG_LEVEL'),

    // null: OpenTelemetry if it is set up; false: off; or the name of a class (docs/tracing.md).
    'tracing' => null,

    // kafka:send and kafka:consume: a raw topic, without channels and envelopes.
    'raw' => [
        'topic' => env('KAFKA_TOPIC'),
        'group' => env('KAFKA_GROUP', env('KAFKA_CONSUMER_GROUP', 'laravel')),
    ],

    // The WebSocket gateway; the key pair also signs /broadcasting/auth. `php artisan realtime:install` generates one.
    'gateway' => [
        'host' => env('REALTIME_GATEWAY_HOST', '127.0.0.1'),
        'port' => env('REALTIME_GATEWAY_PORT', 6001),
        // Path before /app and /apps, if the gateway is below a path of the main domain; wsPath in Echo.
        'path_prefix' => env('REALTIME_PATH_PREFIX', ''),
        'app_id' => env('REALTIME_APP_ID'),
        'key' => env('REALTIME_APP_KEY'),
        'secret' => env('REALTIME_APP_SECRET'),
        // Laravel's convention: a plain Channel is public. The broadcast driver marks its messages; other broadcasts
        // stay private.
        'public_by_mark' => true,
        'public_channels' => ['public.*'],
        'allowed_origins' => array_values(array_filter(
            array_map('trim', explode(',', (string) env('REALTIME_ALLOWED_ORIGINS', '')))
        )),
        'ops_listen' => env('REALTIME_OPS_LISTEN', '127.0.0.1:6900'),
        // Receivers of webhooks, comma-separated; realtime:webhooks:send posts them (docs/webhooks.md).
        'webhook_urls' => (string) env('REALTIME_WEBHOOK_URLS', ''),
        // 32 bytes in base64. If set, events for EncryptedPrivateChannel are encrypted before they leave this process.
        'encryption_master_key' => env('REALTIME_ENCRYPTION_MASTER_KEY'),
    ],

];
