<?php

/**
 * Runs the chat with an embedded broker, a gateway and a web server, until Ctrl-C.
 *
 *     php examples/chat/run.php               prints the URL; open it in two windows
 *     php examples/chat/run.php 30            stops after 30 seconds
 *     KAFKA_BROKERS=localhost:9092 php examples/chat/run.php      with a real Kafka
 */

declare(strict_types=1);

use Orders\Processes;
use Toporia\Realtime\EmbeddedBroker;

require __DIR__ . '/autoload.php';

$seconds = (int) ($argv[1] ?? 0);
$kafka = getenv('KAFKA_BROKERS');
$embedded = $kafka ? null : EmbeddedBroker::start()->createTopic('chat.rooms', 4);
$listens = static function (string $log): string {
    return preg_match('/127\.0\.0\.1:\d+/', $log, $found) === 1 ? $found[0] : '';
};
// Finds a free port by binding it, and closes it again for the web server.
$reserved = stream_socket_server('tcp://127.0.0.1:0');
$web = (string) stream_socket_get_name($reserved, false);
fclose($reserved);

$environment = [
    'KAFKA_BROKERS' => $kafka ?: (string) $embedded?->address(),
    'REALTIME_APP_ID' => 'chat',
    'REALTIME_APP_KEY' => bin2hex(random_bytes(8)),
    // Generated for each run, so that no secret is stored.
    'REALTIME_APP_SECRET' => bin2hex(random_bytes(32)),
    'REALTIME_OPS_LISTEN' => 'off',
    'REALTIME_ALLOWED_ORIGINS' => "http://$web",
];
$gateway = new Processes(__DIR__, $environment);
$pages = null;
$stop = false;
pcntl_async_signals(true);
foreach ([SIGINT, SIGTERM] as $signal) {
    pcntl_signal($signal, static function () use (&$stop): void {
        $stop = true;
    });
}
try {
    $console = dirname(__DIR__, 2) . '/console';
    $gateway->start('gateway', $console, ['realtime:gateway', '--port=0', '--drain=0'], '/127\.0\.0\.1:\d+/');
    $pages = new Processes(__DIR__, $environment + ['CHAT_GATEWAY' => $listens($gateway->logOf('gateway'))]);
    $pages->start('web', '-S', [$web, 'web.php'], '/started/');
    echo "Open http://$web/ in two windows, and chat", $seconds > 0 ? " ($seconds s).\n" : "; Ctrl-C stops it.\n";
    for ($end = time() + $seconds; !$stop && ($seconds === 0 || time() < $end);) {
        usleep(100_000);
    }
} finally {
    $pages?->stopAll();
    $gateway->stopAll();
}
