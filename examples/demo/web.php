<?php

/**
 * The page's server, for `php -S`: the page and its scripts, channel authorization, recent and new orders.
 */

declare(strict_types=1);

use Demo\Journal;
use Demo\Shop;
use Demo\Visitor;
use Toporia\Realtime\Admin;
use Toporia\Realtime\Exception\InvalidChannelException;
use Toporia\Realtime\Gateway;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;

require_once dirname(__DIR__, 2) . '/php/autoload.php';
require_once __DIR__ . '/Journal.php';
require_once __DIR__ . '/Shop.php';
require_once __DIR__ . '/Visitor.php';

$root = dirname(__DIR__, 2);
$files = [
    '/' => [__DIR__ . '/page.html', 'text/html'],
    '/stream' => [__DIR__ . '/stream.html', 'text/html'],
    '/pusher.js' => [$root . '/build/npm/node_modules/pusher-js/dist/web/pusher.min.js', 'text/javascript'],
    '/recovery.js' => [$root . '/clients/js/recovery.js', 'text/javascript'],
];
$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
$posted = $_SERVER['REQUEST_METHOD'] === 'POST';
$json = static function (array $what): void {
    header('Content-Type: application/json');
    echo json_encode($what, JSON_THROW_ON_ERROR);
};

if (isset($files[$path])) {
    header("Content-Type: {$files[$path][1]}; charset=utf-8");
    header('Cache-Control: no-cache');
    readfile($files[$path][0]);

    return;
}

$visitor = Visitor::ofThisRequest();
Realtime::configure(require __DIR__ . '/config/realtime.php');

if ($path === '/me') {
    [$host, $port] = explode(':', trim((string) file_get_contents(getenv('DEMO_STATE') . '/gateway')));
    $json(['host' => $host, 'port' => (int) $port, 'key' => getenv('REALTIME_APP_KEY')] + $visitor->toArray());
} elseif ($path === '/broadcasting/auth' && $posted) {
    $channel = (string) ($_POST['channel_name'] ?? '');
    $member = $channel === 'presence-board'
        ? ['user_id' => $visitor->id, 'user_info' => ['name' => $visitor->name]]
        : null;
    // Every visitor may join the board's presence channel; a private channel is open to its owner only.
    if ($member === null && $channel !== "private-user.$visitor->id") {
        http_response_code(403);

        return;
    }
    try {
        $json(Gateway::authorize((string) ($_POST['socket_id'] ?? ''), $channel, $member));
    } catch (InvalidChannelException $refused) {
        http_response_code(403);
        echo $refused->getMessage();
    }
} elseif ($path === '/order' && $posted) {
    $city = $_POST['city'] ?? '';
    $dish = $_POST['dish'] ?? '';
    if (!in_array($city, Shop::CITIES, true) || !isset(Shop::MENU[$dish])) {
        http_response_code(422);

        return;
    }
    (new Shop(Journal::ofThisRun()))->order($city, $dish, 'visitor', $visitor->id);
} elseif ($path === '/recent') {
    // The last records of the partitions hold the last orders and the services' events about them.
    $admin = new Admin();
    $from = array_map(static fn (array $span): int => max($span['beginning'], $span['end'] - 60), $admin->offsets('demo.shop'));
    $orders = $steps = [];
    $admin->read('demo.shop', static function (Message $record) use (&$orders, &$steps): void {
        ['channel' => $channel, 'event' => $event, 'data' => $data] = $record->getData();
        if ($event === 'order.created') {
            $orders[$data['number']] = ['channel' => $channel, 'order' => $data];
        } else {
            $steps[$data['number']][$event === 'order.paid' ? 'accounts' : 'kitchen'] = $data['ms'];
        }
    }, $from);
    ksort($orders);
    $json(array_values(array_map(
        static fn (array $order): array => $order + ['steps' => (object) ($steps[$order['order']['number']] ?? [])],
        array_slice($orders, -10, null, true)
    )));
} elseif ($path === '/restart' && $posted) {
    // gateway.sh polls for this file.
    touch(getenv('DEMO_STATE') . '/restart');
} else {
    http_response_code(404);
}
