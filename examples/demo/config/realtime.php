<?php

/**
 * The demo's configuration: one topic for all shops, as recommended for many channels, and one for the visitors.
 */

declare(strict_types=1);

require_once dirname(__DIR__) . '/Journal.php';
require_once dirname(__DIR__) . '/OrderHandler.php';

// The Kafka address is KAFKA_BROKERS, by default localhost:9092.
return [
    'brokers' => [
        'kafka' => [
            'topic_prefix' => 'demo',
            'topic_strategy' => 'grouped',
            'topic_mapping' => ['shop.*' => 'demo.shop', 'user.*' => 'demo.user'],
        ],
    ],
    // The app's id, key and secret, and the page's origin, are in the environment: run.sh generates them for each run.
    'gateway' => ['public_channels' => ['shop.*']],
];
