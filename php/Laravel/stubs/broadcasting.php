<?php

/**
 * Where broadcast events are sent: Kafka, the log, or nowhere.
 */

declare(strict_types=1);

return [

    'default' => env('BROADCAST_CONNECTION', 'null'),

    'connections' => [

        // Uses the brokers and topics of config/realtime.php unless this entry has its own.
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
