<?php

/**
 * (c) A long-running worker that broadcasts once per request. Arguments: brokers, requests.
 *
 * Prints the duration of broadcast and flush in each, in ms. The connection exists, as from the second request on.
 */

declare(strict_types=1);

use Toporia\Realtime\Bench\Load;
use Toporia\Realtime\Realtime;

require __DIR__ . '/begin.php';

[, $brokers, $requests] = $argv;
Realtime::configure(['default_broker' => 'kafka', 'brokers' => [
    'kafka' => ['brokers' => $brokers, 'topic_prefix' => Load::WRITTEN],
]]);
Realtime::broadcast(Load::CHANNEL, Load::EVENT, Load::data(0));
Realtime::flush();

$took = [];
for ($n = 1; $n <= (int) $requests; $n++) {
    usleep(10000);
    $data = Load::data($n);
    $start = hrtime(true);
    Realtime::broadcast(Load::CHANNEL, Load::EVENT, $data);
    Realtime::flush();
    $took[] = (hrtime(true) - $start) / 1e6;
}
echo json_encode($took), "\n";
