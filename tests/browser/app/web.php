<?php

/**
 * The test application, for `php -S`: the page, channel and user authorization, and broadcasts on request.
 */

declare(strict_types=1);

use Toporia\Realtime\Exception\InvalidChannelException;
use Toporia\Realtime\Gateway;
use Toporia\Realtime\Realtime;

$root = dirname(__DIR__, 3);
require_once "$root/php/autoload.php";

$files = [
    '/' => __DIR__ . '/page.html',
    '/recovery.js' => "$root/clients/js/recovery.js",
    '/pusher.js' => "$root/build/npm/node_modules/pusher-js/dist/web/pusher.min.js",
    '/pusher-with-encryption.js' => "$root/build/npm/node_modules/pusher-js/dist/web/pusher-with-encryption.min.js",
    '/echo.js' => "$root/build/npm/node_modules/laravel-echo/dist/echo.js",
];
$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
if (isset($files[$path])) {
    header('Content-Type: ' . (str_ends_with($path, '.js') ? 'text/javascript' : 'text/html') . '; charset=utf-8');
    readfile($files[$path]);

    return;
}
Realtime::configure(require __DIR__ . '/config/realtime.php');

// ?user= names the authenticated user; acceptable only in a test.
$user = (string) ($_GET['user'] ?? 'guest');
$answer = static function (callable $make): void {
    header('Content-Type: application/json');
    try {
        echo json_encode($make(), JSON_THROW_ON_ERROR);
    } catch (InvalidChannelException $refused) {
        http_response_code(403);
        echo json_encode(['error' => $refused->getMessage()]);
    }
};
$body = static fn (): array => json_decode((string) file_get_contents('php://input'), true, 64, JSON_THROW_ON_ERROR);

if ($path === '/broadcasting/auth') {
    $channel = (string) ($_POST['channel_name'] ?? '');
    if (str_contains($channel, 'forbidden')) {
        http_response_code(403);

        return;
    }
    $member = str_starts_with($channel, 'presence-')
        ? ['user_id' => $user, 'user_info' => ['name' => ucfirst($user)]]
        : null;
    $answer(static function () use ($channel, $member): array {
        $signed = Gateway::authorize((string) ($_POST['socket_id'] ?? ''), $channel, $member);
        // Simulates an application with a wrong secret.
        if (str_contains($channel, 'forged')) {
            $signed['auth'] = substr($signed['auth'], 0, -4) . 'beef';
        }

        return $signed;
    });
} elseif ($path === '/broadcasting/user-auth') {
    $answer(static fn (): array => Gateway::authenticate(
        (string) ($_POST['socket_id'] ?? ''),
        ['id' => $user, 'user_info' => ['name' => ucfirst($user)]],
    ));
} elseif ($path === '/broadcast') {
    $answer(static function () use ($body): array {
        $it = $body();
        $id = Realtime::broadcast(
            $it['channel'],
            $it['event'],
            $it['data'],
            headers: $it['headers'] ?? [],
            except: $it['except'] ?? null,
        );

        return ['id' => $id];
    });
} elseif ($path === '/many') {
    $answer(static function () use ($body): array {
        $it = $body();
        set_time_limit(0);
        for ($n = $it['from']; $n < $it['from'] + $it['count']; $n++) {
            Realtime::broadcast($it['channel'], $it['event'], ['n' => $n]);
            if ($n % $it['burst'] === 0) {
                usleep($it['pause']);
            }
        }
        // Longer than every failure that a test causes.
        Realtime::flush(180_000);

        return ['sent' => $it['count']];
    });
} else {
    http_response_code(404);
}
