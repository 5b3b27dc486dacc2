<?php

/**
 * Where broadcast events go: Kafka, the log, or nowhere.
 */

declare(strict_types=1);

return [

    'default' => env('BROADCAST_CONNECTION', 'null'),

    'connections' => [

        // Brokers and topics are those of config/realtime.php, unless this entry has its own.
        'kafka' => [
            'driver' => 'kafka',
        ],

        'log' => [
            'driver' => 'log',
        ],

        'null' => [
            'driver' => 'null',
        ],

    ],

];
