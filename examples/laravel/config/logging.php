<?php

/**
 * One log file for the application, and one for realtime messages.
 */

declare(strict_types=1);

return [
    'default' => 'single',
    'channels' => [
        'single' => ['driver' => 'single', 'path' => storage_path('logs/laravel.log'), 'level' => 'debug'],
        'realtime' => ['driver' => 'single', 'path' => storage_path('logs/realtime.log'), 'level' => 'debug'],
    ],
];
