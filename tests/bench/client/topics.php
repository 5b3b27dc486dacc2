<?php

/**
 * Broadcasts to many topics in turn, one channel each, final flush included; all topics exist and were used before.
 * Arguments: brokers, messages, topics, the prefix of the topics, linger.ms.
 */

declare(strict_types=1);

use Toporia\Realtime\Bench\Load;
use Toporia\Realtime\Bench\Meter;
use Toporia\Realtime\Realtime;

require __DIR__ . '/begin.php';

[, $brokers, $messages, $topics, $prefix, $linger] = $argv;
[$messages, $topics] = [(int) $messages, (int) $topics];
Realtime::configure(['default_broker' => 'kafka', 'brokers' => ['kafka' => [
    'brokers' => $brokers,
    'topic_prefix' => $prefix,
    'queue_full_ms' => 10_000,
    'producer_config' => ['linger.ms' => $linger],
]]]);
for ($n = 0; $n < $topics; $n++) {
    Realtime::broadcast("user.$n", Load::EVENT, Load::data(0));
}
Realtime::flush(300_000);

$meter = Meter::start();
for ($n = 0; $n < $messages; $n++) {
    Realtime::broadcast('user.' . ($n % $topics), Load::EVENT, Load::data($n));
}
Realtime::flush(300_000);
$meter->report($messages, ['delivered' => Realtime::stats()['messages_delivered'] - $topics]);
