<?php

/** Broadcast connections: Kafka, the log, or null. */

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
