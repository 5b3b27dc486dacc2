<?php

/**
 * The time of a PHP-FPM worker for a request that broadcasts, with a spool, while Kafka is away: the client has its
 * response before the worker is free, so one worker answers requests back to back, and each waits for the one before.
 *
 *     php tests/bench/fpm-outage.php EXTENSION
 */

declare(strict_types=1);

use Toporia\Realtime\Tests\Producing\FpmServer;

require dirname(__DIR__) . '/php/Support/ProcessResult.php';
require dirname(__DIR__) . '/php/Support/ChildProcess.php';
require dirname(__DIR__) . '/php/Producing/FpmServer.php';

$directory = sys_get_temp_dir() . '/bench-fpm-' . getmypid();
mkdir($directory);
mkdir("$directory/spool");
chmod("$directory/spool", 0777);
$server = new FpmServer(
    $directory,
    (string) realpath($argv[1]),
    'echo Realtime::broadcast("web", "e", str_repeat("x", 200));',
    ['KAFKA_BROKERS' => '127.0.0.1:1', 'KAFKA_TOPIC_PREFIX' => 'fpm', 'REALTIME_SPOOL' => "$directory/spool"],
    [],
    1
);
$times = [];
for ($n = 0; $n < 60; $n++) {
    $start = hrtime(true);
    strlen($server->request()[0] ?? '') === 36 || exit("A request failed.\n" . $server->log());
    $times[] = (hrtime(true) - $start) / 1e6;
}
$server->stop();
exec('rm -rf ' . escapeshellarg($directory));
$mean = array_sum($times) / count($times);
sort($times);
printf("mean %.1f ms, p50 %.1f ms, p90 %.1f ms, max %.0f ms\n", $mean, $times[30], $times[54], $times[59]);
