<?php

/**
 * The configuration of the chat: all rooms in one topic. The gateway's secrets come from the environment.
 */

declare(strict_types=1);

require_once dirname(__DIR__) . '/autoload.php';

return [
    'default_broker' => 'kafka',
    'brokers' => [
        'kafka' => [
            'brokers' => getenv('KAFKA_BROKERS') ?: 'localhost:9092',
            'topic_prefix' => 'chat',
            'topic_strategy' => 'grouped',
            'topic_mapping' => ['room.*' => 'chat.rooms'],
        ],
    ],
];
