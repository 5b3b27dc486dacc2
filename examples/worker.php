<?php

/**
 * A worker with callbacks: marks orders as paid and notifies the user, until Ctrl-C or SIGTERM.
 *
 *     KAFKA_BROKERS=127.0.0.1:9092 php examples/worker.php        # or: worker.php 10, to stop after 10
 */

declare(strict_types=1);

use Toporia\Realtime\Broker;
use Toporia\Realtime\Exception\RealtimeException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;

// In an application: require 'vendor/autoload.php';
require dirname(__DIR__) . '/php/autoload.php';

$limit = (int) ($argv[1] ?? 0);
// One group for each purpose: workers of one group share the records; every group receives all of them.
$broker = new Broker(['consumer_group' => getenv('KAFKA_CONSUMER_GROUP') ?: 'payments']);

$broker->subscribe('user.*', function (Message $message): void {
    if ($message->getEvent() !== 'order.created') {
        return;
    }
    $order = $message->getData();
    echo "{$message->getChannel()}: order {$order['id']} of {$order['total']}\n";

    // Delivery is at least once: this may run twice for one record, so it must be idempotent.
    // Messages sent here are acknowledged before the record's offset is committed.
    Realtime::broadcast($message->getChannel(), 'order.paid', ['id' => $order['id']]);
});

$broker->onTick(function (Broker $broker): void {
    ['handled' => $handled, 'lag' => $lag] = $broker->stats();
    fwrite(STDERR, "$handled handled, lag " . ($lag < 0 ? 'not known yet' : $lag) . "\n");
}, everyMs: 5000);

try {
    // Stops after the current record; the offsets of handled records are committed.
    $broker->consume(maxMessages: $limit);
} catch (RealtimeException $e) {
    fwrite(STDERR, $e->getMessage() . "\n");
    exit(1);
}

echo "stopped by {$broker->stats()['stop_reason']}\n";
