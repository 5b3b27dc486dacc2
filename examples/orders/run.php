<?php

/**
 * Three services in separate processes with an embedded broker: one places orders, two workers of the second share the
 * charging, the third receives all events.
 *
 *     php examples/orders/run.php        or: run.php 100
 *     KAFKA_BROKERS=localhost:9092 php examples/orders/run.php      with a real Kafka
 */

declare(strict_types=1);

use Orders\Journal;
use Orders\Processes;
use Toporia\Realtime\EmbeddedBroker;

require __DIR__ . '/autoload.php';

$orders = (int) ($argv[1] ?? 12);
$kafka = getenv('KAFKA_BROKERS');
$embedded = $kafka ? null : EmbeddedBroker::start()->createTopic('shop_orders', 4);
$journal = (string) tempnam(sys_get_temp_dir(), 'realtime-orders-');
putenv("ORDERS_JOURNAL=$journal");
$processes = new Processes(__DIR__, [
    'KAFKA_BROKERS' => $kafka ?: (string) $embedded?->address(),
    'ORDERS_JOURNAL' => $journal,
    'SHOP_SESSION_MS' => $kafka ? '6000' : '1500',
]);
$did = static fn (string $what): array => array_values(
    array_filter(Journal::read(), static fn (array $entry): bool => $entry['did'] === $what)
);

try {
    // Two workers of one group: each order goes to one of them. The other group also receives every order.
    $processes->worker('payment-1', ['--group=payment', '--channels=orders', '--handler=Orders\PaymentHandler']);
    $processes->worker('payment-2', ['--group=payment', '--channels=orders', '--handler=Orders\PaymentHandler']);
    $processes->worker(
        'notification',
        ['--group=notification', '--channels=orders,payments', '--handler=Orders\NotificationHandler']
    );
    $processes->assigned('payment-1', 'payment-2', 'notification');
    echo "payment-1 and payment-2 share group 'payment'; notification has its own group\n";

    $processes->start('order', __DIR__ . '/order.php', [(string) $orders], '/orders placed/');
    echo 'order:        ', trim($processes->logOf('order')), "\n";
    $processes->waitUntil(
        static fn (): bool => count($did('receipt')) >= $orders && count($did('confirmation')) >= $orders,
        'Not all orders arrived.'
    );

    foreach (array_count_values(array_column($did('charged'), 'pid')) as $pid => $charged) {
        echo "payment:      process $pid charged $charged\n";
    }
    $charged = array_column($did('charged'), 'order');
    printf(
        "%d orders: %d charged (%d twice), %d confirmations, %d receipts\n",
        $orders,
        count(array_unique($charged)),
        count($charged) - count(array_unique($charged)),
        count($did('confirmation')),
        count($did('receipt'))
    );
} finally {
    $processes->stopAll();
    unlink($journal);
}
