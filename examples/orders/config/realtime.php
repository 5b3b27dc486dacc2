<?php

/**
 * The configuration of all three services. Each has a group of its own, given on its command line.
 */

declare(strict_types=1);

require_once dirname(__DIR__) . '/autoload.php';

// Kafka's address is KAFKA_BROKERS, else localhost:9092.
return [
    'brokers' => [
        'kafka' => [
            'topic_prefix' => 'shop',
            // How soon it is noticed who joins and who is gone; a Kafka in memory allows less than a real one does.
            'consumer_config' => [
                'heartbeat.interval.ms' => 300,
                'session.timeout.ms' => getenv('SHOP_SESSION_MS') ?: '6000',
            ],
        ],
    ],
];
