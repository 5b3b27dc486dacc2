<?php

/**
 * An idle consumer of many topics: CPU in ten seconds, after five. Then the latency of single records.
 * Arguments: brokers, topics, the prefix of the topics (which exist: topics.php).
 */

declare(strict_types=1);

use Toporia\Realtime\Bench\Load;
use Toporia\Realtime\Bench\Meter;
use Toporia\Realtime\Broker;
use Toporia\Realtime\Realtime;

require __DIR__ . '/begin.php';

[, $brokers, $topics, $prefix] = $argv;
$config = ['brokers' => $brokers, 'topic_prefix' => $prefix, 'consumer_group' => 'idle' . bin2hex(random_bytes(4)),
    'consumer_config' => ['auto.offset.reset' => 'latest']];
Realtime::configure(['default_broker' => 'kafka', 'brokers' => ['kafka' => $config]]);
$broker = new Broker($config);
for ($n = 0; $n < (int) $topics; $n++) {
    $broker->subscribe("user.$n");
}
$run = static function (float $seconds) use ($broker): void {
    for ($until = microtime(true) + $seconds; microtime(true) < $until;) {
        $broker->poll(100);
    }
};
$run(12.0);
$meter = Meter::start();
$run(10.0);
$cpu = $meter->cpuTime();
$latencies = [];
for ($n = 0; $n < 8; $n++) {
    $run(2.5);
    $sent = hrtime(true);
    Realtime::broadcast("user.$n", Load::EVENT, Load::data($n));
    $message = $broker->poll(5000);
    if ($message !== null) {
        $latencies[] = (hrtime(true) - $sent) / 1e6;
        $broker->ack($message);
    }
}
sort($latencies);
$meter->report(1, ['percent_of_a_core' => $cpu / 1e5, 'latency_p50_ms' => $latencies[intdiv(count($latencies), 2)] ?? null]);
