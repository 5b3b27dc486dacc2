<?php

/**
 * A producer at a fixed rate on one channel. Arguments: brokers, messages per second, seconds. The CPU time is that of
 * the sending, with the final flush; 50 flushes of one message each follow.
 */

declare(strict_types=1);

use Toporia\Realtime\Bench\Load;
use Toporia\Realtime\Bench\Meter;
use Toporia\Realtime\Realtime;

require __DIR__ . '/begin.php';

[$rate, $seconds] = [(int) $argv[2], (int) $argv[3]];
Realtime::configure(['default_broker' => 'kafka', 'brokers' => [
    'kafka' => ['brokers' => $argv[1], 'topic_prefix' => Load::WRITTEN],
]]);
$send = static fn (int $n) => Realtime::broadcast(Load::CHANNEL, Load::EVENT, Load::data($n));
$send(0);
Realtime::flush(10_000);

[$meter, $start, $step] = [Meter::start(), hrtime(true), max(1, intdiv($rate, 500))];
for ($n = 1; $n <= $rate * $seconds; $n++) {
    $send($n);
    if ($n % $step === 0) {
        usleep((int) max(0, ($n / $rate * 1e9 - (hrtime(true) - $start)) / 1000));
    }
}
Realtime::flush(10_000);
$cpu = $meter->cpuTime();
$flushes = [];
for ($n = 0; $n < 50; $n++) {
    [$begin] = [hrtime(true), $send($n)];
    Realtime::flush(10_000);
    $flushes[] = (hrtime(true) - $begin) / 1e6;
}
sort($flushes);
$meter->report($rate * $seconds, ['cpu_us' => $cpu, 'flush_ms' => $flushes[25]]);
