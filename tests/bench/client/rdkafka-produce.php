<?php

/**
 * (a) The same with php-rdkafka and json_encode. Arguments: brokers, messages.
 */

declare(strict_types=1);

use Toporia\Realtime\Bench\Load;
use Toporia\Realtime\Bench\Meter;

require __DIR__ . '/begin.php';

[, $brokers, $messages] = $argv;
$messages = (int) $messages;
$conf = new RdKafka\Conf();
foreach (Load::producerProperties($brokers) as $name => $value) {
    $conf->set($name, $value);
}
$producer = new RdKafka\Producer($conf);
$topic = $producer->newTopic(Load::topic(Load::WRITTEN));
$prefix = substr(bin2hex(random_bytes(16)), 0, 29);
$topic->produce(RD_KAFKA_PARTITION_UA, 0, (string) json_encode(Load::envelope($prefix . 1000000, 0)), Load::CHANNEL);
$producer->flush(10000);

$meter = Meter::start();
for ($n = 0; $n < $messages; $n++) {
    $json = json_encode(Load::envelope($prefix . (1000000 + $n), $n), JSON_THROW_ON_ERROR);
    $topic->produce(RD_KAFKA_PARTITION_UA, 0, $json, Load::CHANNEL);
    // Its manual recommends it after every message; less often costs less, and is enough.
    if ($n % 1000 === 0) {
        $producer->poll(0);
    }
}
$result = $producer->flush(60000);
$meter->report($messages, ['delivered' => $result === RD_KAFKA_RESP_ERR_NO_ERROR ? $messages : 0]);
