<?php

/**
 * The configuration of all three services. Each service has its own group, given on its command line.
 */

declare(strict_types=1);

require_once dirname(__DIR__) . '/autoload.php';

// The Kafka address is KAFKA_BROKERS, by default localhost:9092.
return [
    'brokers' => [
        'kafka' => [
            'topic_prefix' => 'shop',
            // Time until a missing group member is noticed; the embedded broker allows a lower value than Apache Kafka.
            'consumer_config' => [
                'heartbeat.interval.ms' => 300,
                'session.timeout.ms' => getenv('SHOP_SESSION_MS') ?: '6000',
            ],
        ],
    ],
];
