<?php

/**
 * The configuration of the chat: all rooms in one topic. The gateway's secrets come from the environment.
 */

declare(strict_types=1);

require_once dirname(__DIR__) . '/autoload.php';

// The Kafka address is KAFKA_BROKERS, by default localhost:9092.
return [
    'brokers' => [
        'kafka' => [
            'topic_prefix' => 'chat',
            'topic_strategy' => 'grouped',
            'topic_mapping' => ['room.*' => 'chat.rooms'],
        ],
    ],
];
