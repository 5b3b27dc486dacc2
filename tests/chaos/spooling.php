<?php

/**
 * Sends numbers from one on, evenly over some seconds; with none to send it waits until the spool is empty.
 *
 * php spooling.php FROM COUNT SECONDS
 */

declare(strict_types=1);

use Toporia\Realtime\Realtime;

require __DIR__ . '/src/autoload.php';

[, $from, $count, $seconds] = $argv;
$start = microtime(true);
for ($i = 0; $i < (int) $count; $i++) {
    $number = $from + $i;
    Realtime::broadcast('orders', 'number', $number, 'key-' . $number % 20);
    usleep(max(0, (int) (($start + (float) $seconds * $i / (int) $count - microtime(true)) * 1e6)));
}
if ((int) $count === 0) {
    Realtime::broadcast('other', 'number', 0);
    Realtime::flush(20_000);
    for ($i = 0; Realtime::stats()['spool_bytes'] > 0 && $i < 2000; $i++) {
        usleep(10_000);
    }
}
