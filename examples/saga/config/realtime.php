<?php

/**
 * The configuration of all services of the saga.
 */

declare(strict_types=1);

require_once dirname(__DIR__) . '/autoload.php';

// Kafka's address is KAFKA_BROKERS, else localhost:9092.
return [
    'brokers' => [
        'kafka' => [
            'topic_prefix' => 'saga',
            // How soon it is noticed that a service was killed; a Kafka in memory allows less than a real one does.
            'consumer_config' => [
                'heartbeat.interval.ms' => 300,
                'session.timeout.ms' => getenv('SAGA_SESSION_MS') ?: '6000',
            ],
        ],
    ],
];
