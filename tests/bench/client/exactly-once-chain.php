<?php

/**
 * The latency of exactly-once: each callback sends the next record, which is read once its transaction is committed.
 * Arguments: brokers, records.
 */

declare(strict_types=1);

use Toporia\Realtime\Broker;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;

require __DIR__ . '/begin.php';

[, $brokers, $records] = $argv;
$topic = 'bench.chain' . bin2hex(random_bytes(4));
$config = ['brokers' => $brokers, 'topic_prefix' => 'bench'];
(new Broker($config))->send($topic, '0');
Realtime::flush(30_000);
$times = [];
$last = null;
$broker = new Broker(['consumer_group' => $topic, 'delivery' => 'exactly-once', 'loop_guard' => false, 'max_hops' => 1000] + $config);
$broker->subscribeTopic($topic, static function (Message $message) use ($broker, $topic, &$times, &$last): void {
    $now = hrtime(true);
    if ($last !== null) {
        $times[] = ($now - $last) / 1e6;
    }
    $last = $now;
    $broker->send($topic, (string) ((int) $message->getPayload() + 1));
});
$broker->consume(1000, 100, (int) $records);
$broker->close();
sort($times);
echo json_encode(['p50_ms' => $times[intdiv(count($times), 2)], 'p95_ms' => $times[intdiv(count($times) * 95, 100)]]), "\n";
