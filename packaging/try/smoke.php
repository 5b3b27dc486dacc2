<?php

/**
 * Smoke test of a freshly installed extension: sends a thousand messages through the embedded broker and consumes them.
 */

declare(strict_types=1);

use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;

const MESSAGES = 1000;

Realtime::configure(['brokers' => 'embedded']);
$sent = [];
for ($i = 0; $i < MESSAGES; $i++) {
    $sent[] = Realtime::broadcast('order.' . $i % 7, 'order.created', ['number' => $i, 'total' => 9.5]);
}
Realtime::flush();

$received = [];
$sum = 0;
Realtime::broker()
    ->subscribe('order.*', function (Message $message) use (&$received, &$sum): void {
        $received[] = $message->getId();
        $sum += $message->getData()['number'];
    })
    ->consume(maxMessages: MESSAGES, stopWhenEmpty: true);

sort($sent);
sort($received);
if ($received !== $sent || $sum !== MESSAGES * (MESSAGES - 1) / 2) {
    fwrite(STDERR, sprintf("%d messages were sent, %d were received, sum %d\n", count($sent), count($received), $sum));
    exit(1);
}
$build = PHP_VERSION . (PHP_ZTS ? ' ZTS' : ' NTS');
$version = phpversion('toporia_realtime');
$count = MESSAGES;
echo "toporia_realtime $version on PHP $build ($count messages sent and received)\n";
