<?php

/**
 * Places an order every second, and prints what was broadcast and what the services received.
 */

declare(strict_types=1);

use Demo\Journal;
use Demo\Shop;
use Toporia\Realtime\Realtime;

require dirname(__DIR__, 2) . '/php/autoload.php';
require __DIR__ . '/Journal.php';
require __DIR__ . '/Shop.php';

Realtime::configure(require __DIR__ . '/config/realtime.php');

/** Number of services that receive each order; run.sh starts them. */
const SERVICES = 2;

$journal = Journal::ofThisRun();
$shop = new Shop($journal);
$seconds = (int) getenv('DEMO_SECONDS');
$terminal = stream_isatty(STDOUT);

$sent = 0;
$latencies = [];
$position = 0;
$show = static function () use ($journal, $terminal, &$sent, &$latencies, &$position): void {
    [$entries, $position] = $journal->read($position);
    foreach ($entries as $entry) {
        if ($entry['what'] === 'sent') {
            $sent++;
            [$colour, $what] = [36, '→ broadcast'];
            $facts = sprintf('by the %s; the call took %.0f µs', $entry['by'], $entry['us']);
        } else {
            $latencies[] = $entry['ms'];
            [$colour, $what] = [32, '← ' . str_pad($entry['service'], 9)];
            $facts = sprintf('%.1f ms later, partition %d', $entry['ms'], $entry['partition']);
        }
        $what = $terminal ? "\033[{$colour}m$what\033[0m" : $what;
        // printf() pads by bytes; these names contain multibyte characters.
        $dish = $entry['dish'] . str_repeat(' ', 10 - mb_strlen($entry['dish']));
        printf("    %s  %s  %-11s  %s  %s\n", date('H:i:s'), $what, $entry['channel'], $dish, $facts);
    }
};

$stopping = false;
if (function_exists('pcntl_signal')) {
    pcntl_async_signals(true);
    pcntl_signal(SIGINT, static function () use (&$stopping): void {
        $stopping = true;
    });
}

$end = $seconds > 0 ? microtime(true) + $seconds : INF;
$next = microtime(true);
while (microtime(true) < $end && !$stopping) {
    if (microtime(true) >= $next) {
        $shop->order(Shop::CITIES[array_rand(Shop::CITIES)], array_rand(Shop::MENU), 'customer');
        $next += 1.0;
    }
    usleep(20_000);
    $show();
}
// The last orders may still be in flight.
for ($deadline = microtime(true) + 10; count($latencies) < SERVICES * $sent && microtime(true) < $deadline;) {
    usleep(20_000);
    $show();
}

sort($latencies);
$received = count($latencies);
echo "\n$sent orders broadcast, ", SERVICES, ' services received ', $received, ' of ', SERVICES * $sent, '.';
if ($received > 0) {
    printf(
        ' From broadcast() to the handler: half within %.1f ms, the slowest %.1f ms.',
        $latencies[intdiv($received - 1, 2)],
        $latencies[$received - 1]
    );
}
echo <<<'TEXT'


What to try next
    DEMO_SECONDS=600 make demo               run for 10 minutes: open the page twice, go offline, restart a gateway
    make install                             installs the extension into your PHP
    ./console realtime:kafka:dev             a broker for your own code, on 127.0.0.1:9092; in two more terminals:
    ./console realtime:kafka:consume --channels='user.*'
    ./console realtime:kafka:publish user.1 order.created '{"id":7}'
    ./console realtime:gateway               WebSockets for your own page: docs/gateway.md
    README.md                                the quick start, and every setting

TEXT;
exit($received > 0 && $received === SERVICES * $sent ? 0 : 1);
