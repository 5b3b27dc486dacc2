<?php

/**
 * The configuration of all services of the saga.
 */

declare(strict_types=1);

require_once dirname(__DIR__) . '/autoload.php';

// The Kafka address is KAFKA_BROKERS, by default localhost:9092.
return [
    'brokers' => [
        'kafka' => [
            'topic_prefix' => 'saga',
            // Time until a killed service is noticed; the embedded broker allows a lower value than Apache Kafka.
            'consumer_config' => [
                'heartbeat.interval.ms' => 300,
                'session.timeout.ms' => getenv('SAGA_SESSION_MS') ?: '6000',
            ],
        ],
    ],
];
