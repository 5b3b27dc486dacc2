<?php

/**
 * Runs the saga with an embedded broker: orders that succeed, a declined card, a lamp that is sold out.
 *
 *     php examples/saga/run.php               no service is killed
 *     php examples/saga/run.php accidents     every service is killed at a different moment, and restarted
 */

declare(strict_types=1);

use Orders\Processes;
use Saga\Auditor;
use Saga\OrderService;
use Toporia\Realtime\EmbeddedBroker;
use Toporia\Realtime\Realtime;

require __DIR__ . '/autoload.php';

$accidents = ($argv[1] ?? '') !== 'accidents' ? [] : [
    'payment:after-commit:1', 'inventory:after-commit:2', 'shipping:before-commit:1', 'order:after-broadcast:3',
    'payment:before-commit:4', 'shipping:after-commit:2', 'order:before-commit:1',
];
$kafka = getenv('KAFKA_BROKERS');
$embedded = $kafka ? null : EmbeddedBroker::start()->createTopic('saga_orders', 2);
$directory = sys_get_temp_dir() . '/realtime-saga-' . bin2hex(random_bytes(5));
mkdir($directory, 0700);
putenv("SAGA_DIRECTORY=$directory");
putenv('SAGA_SESSION_MS=' . ($kafka ? '6000' : '1500'));
putenv('KAFKA_BROKERS=' . ($kafka ?: $embedded?->address()));

$orders = [
    ['id' => 1, 'cents' => 1500, 'item' => 'book', 'card' => 'good'],
    ['id' => 2, 'cents' => 2500, 'item' => 'book', 'card' => 'good'],
    ['id' => 3, 'cents' => 3500, 'item' => 'book', 'card' => 'declined'],
    ['id' => 4, 'cents' => 4500, 'item' => 'lamp', 'card' => 'good'],
    ['id' => 5, 'cents' => 5500, 'item' => 'book', 'card' => 'good'],
];
$services = ['payment', 'inventory', 'shipping', 'order'];
$processes = new Processes(__DIR__, ['SAGA_ACCIDENTS' => implode(',', $accidents)]);
$start = static function (string $service) use ($processes): void {
    $handler = 'Saga\\' . ucfirst($service) . 'Service';
    $processes->worker($service, ["--group=$service", '--channels=orders', "--handler=$handler"]);
};
$auditor = new Auditor();

try {
    $shop = new OrderService();
    array_map($start, $services);
    $processes->assigned(...$services);
    Realtime::configure(require __DIR__ . '/config/realtime.php');
    foreach ($orders as $order) {
        $shop->place($order);
    }
    Realtime::flush();

    $killed = 0;
    $processes->waitUntil(static function () use ($processes, $services, $start, $auditor, $orders, &$killed): bool {
        foreach ($services as $service) {
            if (!$processes->isRunning($service)) {
                // As systemd or Supervisor would restart it.
                $killed++;
                $processes->stop($service);
                $start($service);
            }
        }
        $open = array_filter(
            $orders,
            static fn (array $o): bool => $auditor->inconsistency($o['id'], $o['cents']) !== null
        );

        return $open === [];
    }, 'The saga did not finish.', 120.0);
    // Gives a duplicate event the time to arrive.
    usleep(500_000);

    $inconsistencies = 0;
    foreach ($orders as $order) {
        $inconsistency = $auditor->inconsistency($order['id'], $order['cents']);
        $inconsistencies += (int) ($inconsistency !== null);
        printf(
            "order %d: %-9s  %s\n",
            $order['id'],
            $auditor->status($order['id']),
            $inconsistency ?? "({$order['item']}, card {$order['card']})"
        );
    }
    printf("%d services killed, %d orders inconsistent\n", $killed, $inconsistencies);
} finally {
    $processes->stopAll();
    array_map('unlink', glob("$directory/*") ?: []);
    rmdir($directory);
}
exit($inconsistencies === 0 ? 0 : 1);
