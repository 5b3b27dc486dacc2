<?php

/**
 * The configuration of all three services. Each has a group of its own, given on its command line.
 */

declare(strict_types=1);

require_once dirname(__DIR__) . '/autoload.php';

return [
    'default_broker' => 'kafka',
    'brokers' => [
        'kafka' => [
            'brokers' => getenv('KAFKA_BROKERS') ?: 'localhost:9092',
            'topic_prefix' => 'shop',
        ],
    ],
];
