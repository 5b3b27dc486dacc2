<?php

/**
 * (a) Realtime::broadcast(), including the final flush. Arguments: brokers, messages.
 */

declare(strict_types=1);

use Toporia\Realtime\Bench\Load;
use Toporia\Realtime\Bench\Meter;
use Toporia\Realtime\Realtime;

require __DIR__ . '/begin.php';

[, $brokers, $messages] = $argv;
$messages = (int) $messages;
Realtime::configure(['default_broker' => 'kafka', 'brokers' => [
    'kafka' => ['brokers' => $brokers, 'topic_prefix' => Load::WRITTEN],
]]);
// Connected before the clock starts, like every peer.
Realtime::broadcast(Load::CHANNEL, Load::EVENT, Load::data(0));
Realtime::flush();

$meter = Meter::start();
for ($n = 0; $n < $messages; $n++) {
    Realtime::broadcast(Load::CHANNEL, Load::EVENT, Load::data($n));
}
Realtime::flush(60000);
$meter->report($messages, ['delivered' => Realtime::stats()['messages_delivered'] - 1]);
