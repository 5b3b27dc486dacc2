<?php

/**
 * Compares a page that calls every service directly with one that broadcasts an event and returns: response time,
 * orders per second, and failed requests while the payment service is down.
 *
 *     php examples/orders/benchmark.php                    110 workers; 2000 ms compared with 100 ms
 *     php examples/orders/benchmark.php --scale=0.1 --workers=10      ten times faster, for a quick look
 *
 * The services are simulated by sleeping: 100 ms to save the order, 1000 ms for payment, 500 ms for stock, 400 ms for
 * mail.
 */

declare(strict_types=1);

use Orders\Downstream;
use Orders\Journal;
use Orders\Processes;
use Toporia\Realtime\EmbeddedBroker;
use Toporia\Realtime\Realtime;

require __DIR__ . '/autoload.php';

$options = getopt('', ['scale:', 'workers:', 'seconds:']);
$scale = (float) ($options['scale'] ?? 1.0);
$workers = (int) ($options['workers'] ?? 110);
$seconds = (float) ($options['seconds'] ?? 4.0 * $scale);
$ms = static fn (int $full): int => max(1, (int) round($full * $scale));

$kafka = getenv('KAFKA_BROKERS');
$embedded = $kafka ? null : EmbeddedBroker::start()->createTopic('shop_orders', 4);
putenv('KAFKA_BROKERS=' . ($kafka ?: $embedded?->address()));
$journal = (string) tempnam(sys_get_temp_dir(), 'realtime-orders-');
putenv("ORDERS_JOURNAL=$journal");

$save = static fn () => Downstream::call('database', $ms(100));
$synchronous = static function (int $id) use ($save, $ms): void {
    $save();
    Downstream::call('payment', $ms(1000));
    Downstream::call('stock', $ms(500));
    Downstream::call('mail', $ms(400));
};
$asynchronous = static function (int $id) use ($save): void {
    $save();
    Realtime::broadcast('orders', 'order.created', ['id' => $id, 'cents' => 100], key: "order-$id");
};

/**
 * Simulates a pool of PHP workers, each handling one request after another.
 *
 * @return array{ms: float, rate: float, failed: int, orders: int}
 */
$runs = $warmed = 0;
$serve = static function (callable $request, float $seconds, bool $kafka) use ($workers, &$runs, &$warmed): array {
    $runs++;
    $warmed += $kafka ? $workers : 0;
    $results = (string) tempnam(sys_get_temp_dir(), 'realtime-bench-');
    $begin = microtime(true) + 0.3 + $workers / ($kafka ? 40 : 400);
    $children = [];
    for ($worker = 0; $worker < $workers; $worker++) {
        $child = pcntl_fork();
        if ($child === 0) {
            Realtime::configure(require __DIR__ . '/config/realtime.php');
            if ($kafka) {
                // The workers of a real pool have served requests before and are already connected.
                Realtime::broadcast('orders', 'warm.up', null, key: "worker-$worker");
                Realtime::flush();
            }
            usleep((int) max(0, ($begin - microtime(true)) * 1e6));
            $times = [];
            $failed = 0;
            for ($id = $runs * 100_000_000 + $worker * 100_000; microtime(true) < $begin + $seconds; $id++) {
                $start = hrtime(true);
                try {
                    $request($id);
                } catch (RuntimeException) {
                    $failed++;
                }
                $times[] = (hrtime(true) - $start) / 1e6;
            }
            $end = microtime(true) - $begin;
            $line = json_encode([$times, $failed, $end]) . "\n";
            file_put_contents($results, $line, FILE_APPEND | LOCK_EX);
            // As at the end of a request: pending messages are delivered after the response has been sent.
            Realtime::flush();
            exit(0);
        }
        $children[] = $child;
    }
    foreach ($children as $child) {
        pcntl_waitpid($child, $status);
    }
    $times = [];
    $failed = 0;
    $longest = 0.001;
    foreach ((array) file($results) as $line) {
        [$some, $more, $end] = json_decode((string) $line, true);
        array_push($times, ...$some);
        $failed += $more;
        $longest = max($longest, $end);
    }
    unlink($results);
    sort($times);

    return [
        'ms' => $times[intdiv(count($times), 2)] ?? 0.0,
        'rate' => (count($times) - $failed) / $longest,
        'failed' => $failed,
        'orders' => count($times),
    ];
};

try {
    $table = [
        'synchronous' => $serve($synchronous, $seconds, false),
        'asynchronous' => $serve($asynchronous, $seconds, true),
    ];
    echo "                 request   orders/s   ($workers PHP workers)\n";
    foreach ($table as $name => $row) {
        printf("  %-13s %6.0f ms %10.0f\n", $name, $row['ms'], $row['rate']);
    }

    echo "\npayment is down  request   failed\n";
    Downstream::takeDown('payment');
    foreach (['synchronous' => $synchronous, 'asynchronous' => $asynchronous] as $name => $request) {
        $down[$name] = $serve($request, $seconds / 4, $name === 'asynchronous');
        printf("  %-13s %6.0f ms %5d of %d\n", $name, $down[$name]['ms'], $down[$name]['failed'], $down[$name]['orders']);
    }

    $accepted = $table['asynchronous']['orders'] + $down['asynchronous']['orders'];
    $processes = new Processes(__DIR__, ['PAYMENT_MS' => '0']);
    try {
        $start = microtime(true);
        $processes->worker('payment', [
            '--group=payment',
            '--channels=orders',
            '--handler=Orders\PaymentHandler',
            '--max-messages=' . ($accepted + $warmed),
        ]);
        $processes->waitUntil(static fn (): bool => !$processes->isRunning('payment'), 'Not all orders were charged.', 120.0);
    } finally {
        $processes->stopAll();
    }
    $charged = array_column(array_filter(Journal::read(), static fn (array $e): bool => $e['did'] === 'charged'), 'order');
    printf(
        "\npayment is back: %d of the %d orders accepted so far are charged, after %.1f s\n",
        count(array_unique($charged)),
        $accepted,
        microtime(true) - $start
    );
} finally {
    unlink($journal);
}
