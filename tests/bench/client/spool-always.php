<?php

/**
 * Realtime::broadcast() with a spool, final flush included. Arguments: brokers, messages, spool_when.
 */

declare(strict_types=1);

use Toporia\Realtime\Bench\Load;
use Toporia\Realtime\Bench\Meter;
use Toporia\Realtime\Realtime;

require __DIR__ . '/begin.php';

[, $brokers, $messages, $when] = $argv;
$messages = (int) $messages;
$directory = sys_get_temp_dir() . '/bench-spool-' . getmypid();
Realtime::configure(['default_broker' => 'kafka', 'brokers' => ['kafka' => [
    'brokers' => $brokers,
    'topic_prefix' => Load::WRITTEN,
    'spool' => $directory,
    'spool_when' => $when,
    'queue_full_ms' => 10_000,
]]]);
Realtime::broadcast(Load::CHANNEL, Load::EVENT, Load::data(0));
Realtime::flush();
$meter = Meter::start();
for ($n = 0; $n < $messages; $n++) {
    Realtime::broadcast(Load::CHANNEL, Load::EVENT, Load::data($n));
}
Realtime::flush(60_000);
$meter->report($messages, ['delivered' => Realtime::stats()['messages_delivered'] - 1]);
exec('rm -rf ' . escapeshellarg($directory));
