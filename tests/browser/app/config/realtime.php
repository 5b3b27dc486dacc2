<?php

/**
 * The configuration of the test application; other settings come from the environment set by support/stack.js.
 */

declare(strict_types=1);

use Toporia\Realtime\Tests\Browser\SlowHandler;

require_once dirname(__DIR__) . '/SlowHandler.php';

return [
    'default_broker' => 'kafka',
    'brokers' => [
        'kafka' => [
            'brokers' => (string) getenv('KAFKA_BROKERS'),
            'topic_prefix' => (string) getenv('KAFKA_TOPIC_PREFIX'),
            'topic_strategy' => 'grouped',
        ],
    ],
    'handlers' => ['slow.*' => SlowHandler::class],
    'gateway' => json_decode((string) getenv('TEST_SETTINGS'), true)
        + ['encryption_master_key' => (string) getenv('TEST_MASTER_KEY')],
];
