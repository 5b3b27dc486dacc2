<?php

/**
 * (b) The same with php-rdkafka and json_decode. Arguments: brokers, messages, event or data.
 */

declare(strict_types=1);

use Toporia\Realtime\Bench\Load;
use Toporia\Realtime\Bench\Meter;

require __DIR__ . '/begin.php';

[, $brokers, $messages, $what] = $argv;
$messages = (int) $messages;

$meter = Meter::start();
$conf = new RdKafka\Conf();
foreach (Load::consumerProperties($brokers, 'bench-' . bin2hex(random_bytes(6))) as $name => $value) {
    $conf->set($name, $value);
}
$consumer = new RdKafka\KafkaConsumer($conf);
$consumer->subscribe([Load::topic(Load::READ)]);
$orders = 0;
$sum = 0.0;
for ($seen = 0; $seen < $messages;) {
    $message = $consumer->consume(1000);
    if ($message->err !== RD_KAFKA_RESP_ERR_NO_ERROR) {
        continue;
    }
    $seen++;
    $envelope = json_decode($message->payload, true, 512, JSON_THROW_ON_ERROR);
    if ($envelope['event'] === Load::EVENT) {
        $orders++;
        if ($what === 'data') {
            $sum += $envelope['data']['total'];
        }
    }
}
$meter->report($messages, ['delivered' => $orders, 'sum' => $sum]);
