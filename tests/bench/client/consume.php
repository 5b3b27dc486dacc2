<?php

/**
 * (b) Broker::consume() with a callback. Arguments: brokers, messages, event or data.
 */

declare(strict_types=1);

use Toporia\Realtime\Bench\Load;
use Toporia\Realtime\Bench\Meter;
use Toporia\Realtime\Broker;
use Toporia\Realtime\Message;

require __DIR__ . '/begin.php';

[, $brokers, $messages, $what] = $argv;
$messages = (int) $messages;

$meter = Meter::start();
$broker = new Broker([
    'brokers' => $brokers,
    'topic_prefix' => Load::READ,
    'consumer_group' => 'bench-' . bin2hex(random_bytes(6)),
    'consumer_config' => ['fetch.wait.max.ms' => '10'],
]);
$orders = 0;
$sum = 0.0;
if ($what === 'data') {
    $callback = static function (Message $message) use (&$orders, &$sum): void {
        if ($message->getEvent() === Load::EVENT) {
            $orders++;
            $sum += $message->getData()['total'];
        }
    };
} else {
    $callback = static function (Message $message) use (&$orders): void {
        if ($message->getEvent() === Load::EVENT) {
            $orders++;
        }
    };
}
$broker->subscribe(Load::CHANNEL, $callback);
$broker->consume(maxMessages: $messages);
$meter->report($messages, ['delivered' => $orders, 'sum' => $sum]);
$broker->close();
