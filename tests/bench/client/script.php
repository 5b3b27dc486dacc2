<?php

/**
 * (c) A short script, with one message or without. Arguments: brokers, none or broadcast.
 */

declare(strict_types=1);

use Toporia\Realtime\Bench\Load;
use Toporia\Realtime\Realtime;

require __DIR__ . '/begin.php';

[, $brokers, $what] = $argv;
Realtime::configure(['default_broker' => 'kafka', 'brokers' => [
    'kafka' => ['brokers' => $brokers, 'topic_prefix' => Load::WRITTEN],
]]);
$data = Load::data(0);
if ($what === 'broadcast') {
    Realtime::broadcast(Load::CHANNEL, Load::EVENT, $data);
}
