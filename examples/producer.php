<?php

/**
 * A producer: broadcasts orders, then waits until Kafka has acknowledged them.
 *
 *     KAFKA_BROKERS=127.0.0.1:9092 php examples/producer.php 10
 */

declare(strict_types=1);

use Toporia\Realtime\Exception\DeliveryException;
use Toporia\Realtime\Exception\QueueFullException;
use Toporia\Realtime\Exception\RealtimeException;
use Toporia\Realtime\Realtime;

// In an application: require 'vendor/autoload.php';
require dirname(__DIR__) . '/php/autoload.php';

$count = (int) ($argv[1] ?? 10);

try {
    for ($number = 1; $number <= $count; $number++) {
        $order = ['id' => $number, 'total' => 9.5 * $number];
        try {
            // Encoded and queued; Kafka acknowledges later.
            $id = Realtime::broadcast('user.' . ($number % 3 + 1), 'order.created', $order);
        } catch (QueueFullException) {
            // The queue is full: Kafka is slower than this loop. A script can wait; a web request should rather fail.
            Realtime::flush();
            $id = Realtime::broadcast('user.' . ($number % 3 + 1), 'order.created', $order);
        }
        echo "order $number: $id\n";
    }
    // The end of the script flushes as well, but only an explicit flush() reports the messages that were not delivered.
    Realtime::flush(10_000);
} catch (DeliveryException $e) {
    foreach ($e->getFailed() as $failed) {
        fwrite(STDERR, "not delivered: {$failed['id']} to {$failed['topic']}: {$failed['reason']}\n");
    }
    exit(1);
} catch (RealtimeException $e) {
    fwrite(STDERR, $e->getMessage() . "\n");
    exit(1);
}

echo Realtime::stats()['messages_delivered'], " delivered\n";
