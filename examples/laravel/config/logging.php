<?php

/**
 * The logs: one file, and one for what goes through Kafka.
 */

declare(strict_types=1);

return [
    'default' => 'single',
    'channels' => [
        'single' => ['driver' => 'single', 'path' => storage_path('logs/laravel.log'), 'level' => 'debug'],
        'realtime' => ['driver' => 'single', 'path' => storage_path('logs/realtime.log'), 'level' => 'debug'],
    ],
];
