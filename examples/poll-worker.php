<?php

/**
 * A worker that polls and acknowledges explicitly: for custom loops, and for work that may be retried.
 *
 *     KAFKA_BROKERS=127.0.0.1:9092 php examples/poll-worker.php       # or: poll-worker.php 10, to stop after 10
 */

declare(strict_types=1);

use Toporia\Realtime\Broker;
use Toporia\Realtime\Exception\PermanentException;
use Toporia\Realtime\Exception\TransientException;

// In an application: require 'vendor/autoload.php';
require dirname(__DIR__) . '/php/autoload.php';

/** Simulates the work: every fifth order cannot be charged, every third only at the second attempt. */
$charge = function (array $order, int $attempt): void {
    if ($order['id'] % 5 === 0) {
        throw new PermanentException("Order {$order['id']} has no customer.");
    }
    if ($order['id'] % 3 === 0 && $attempt === 1) {
        throw new TransientException('The payment service answered 503.');
    }
};

$limit = (int) ($argv[1] ?? 0);
$stop = false;
// poll() runs signal handlers while it waits; without a handler, SIGTERM kills the script, as it does any PHP script.
if (function_exists('pcntl_signal')) {
    pcntl_async_signals(true);
    foreach ([SIGINT, SIGTERM] as $signal) {
        pcntl_signal($signal, function () use (&$stop): void {
            $stop = true;
        });
    }
}

$broker = new Broker([
    'consumer_group' => getenv('KAFKA_CONSUMER_GROUP') ?: 'charges',
    'max_retries' => 2,
    'retry_backoff_ms' => 50,
]);
$broker->subscribe('user.*');

for ($done = 0; !$stop && ($limit === 0 || $done < $limit);) {
    $message = $broker->poll(1000);
    if ($message === null) {
        continue;
    }
    if ($message->getEvent() !== 'order.created') {
        $broker->ack($message);
        continue;
    }
    $order = $message->getData();
    try {
        $charge($order, $message->getAttempt());
        $broker->ack($message);
        $done++;
        echo "order {$order['id']}: charged, attempt {$message->getAttempt()}\n";
    } catch (TransientException $e) {
        // Retried after a delay; after the last retry the message goes to the dead-letter topic, dlq.<topic>.
        $broker->nack($message, $e);
        echo "order {$order['id']}: {$e->getMessage()}\n";
    } catch (PermanentException $e) {
        // Straight to the dead-letter topic.
        $broker->nack($message, $e);
        $done++;
        echo "order {$order['id']}: given up: {$e->getMessage()}\n";
    }
}

// Commits the acknowledged messages and leaves the group.
$broker->close();
