<?php

/**
 * The configuration of all services of the saga.
 */

declare(strict_types=1);

require_once dirname(__DIR__) . '/autoload.php';

return [
    'default_broker' => 'kafka',
    'brokers' => [
        'kafka' => [
            'brokers' => getenv('KAFKA_BROKERS') ?: 'localhost:9092',
            'topic_prefix' => 'saga',
            // How soon it is noticed that a service was killed; a Kafka in memory allows less than a real one does.
            'consumer_config' => [
                'heartbeat.interval.ms' => 300,
                'session.timeout.ms' => getenv('SAGA_SESSION_MS') ?: '6000',
            ],
        ],
    ],
];
