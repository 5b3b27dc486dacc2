<?php

/**
 * The demo's configuration: one topic for all shops, as recommended where there are many channels, one for the visitors.
 */

declare(strict_types=1);

require_once dirname(__DIR__) . '/Journal.php';
require_once dirname(__DIR__) . '/OrderHandler.php';

// Kafka's address is KAFKA_BROKERS, else localhost:9092.
return [
    'brokers' => [
        'kafka' => [
            'topic_prefix' => 'demo',
            'topic_strategy' => 'grouped',
            'topic_mapping' => ['shop.*' => 'demo.shop', 'user.*' => 'demo.user'],
        ],
    ],
    // The app's id, key and secret, and the page's origin, are in the environment: run.sh makes them up for each run.
    'gateway' => ['public_channels' => ['shop.*']],
];
