<?php

/**
 * The order service: places orders, as that many web requests would.
 *
 *     php order.php 12 100        orders 100 to 111
 */

declare(strict_types=1);

use Orders\OrderController;
use Toporia\Realtime\Realtime;

Realtime::configure(require __DIR__ . '/config/realtime.php');

$count = (int) ($argv[1] ?? 10);
$first = (int) ($argv[2] ?? 1);
$controller = new OrderController();
$start = hrtime(true);
for ($id = $first; $id < $first + $count; $id++) {
    $controller->place($id, 100 * $id);
}
printf("%d orders placed, %.2f ms each\n", $count, (hrtime(true) - $start) / 1e6 / max(1, $count));
