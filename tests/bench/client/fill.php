<?php

/**
 * Fills a topic with envelopes for the consuming benchmarks. Arguments: brokers, messages, topic, partitions.
 *
 * Spread over the partitions, because the embedded broker keeps only the last 5 MB of each.
 */

declare(strict_types=1);

use Toporia\Realtime\Bench\Load;
use Toporia\Realtime\Broker;
use Toporia\Realtime\Realtime;

require __DIR__ . '/begin.php';

[, $brokers, $messages, $topic, $partitions] = $argv;
[$messages, $partitions] = [(int) $messages, (int) $partitions];
$broker = new Broker(['brokers' => $brokers, 'queue_full_ms' => 10000]);
$prefix = substr(bin2hex(random_bytes(16)), 0, 29);
for ($n = 0; $n < $messages; $n++) {
    $json = json_encode(Load::envelope($prefix . (1000000 + $n), $n), JSON_THROW_ON_ERROR);
    $broker->send($topic, $json, Load::CHANNEL, [], $n % $partitions);
    if ($n % 100000 === 99999) {
        Realtime::flush(60000);
    }
}
Realtime::flush(60000);
