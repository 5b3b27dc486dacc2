<?php

/**
 * The chat's server, for `php -S`: the page, the guest's identity, room authorization, and messages.
 */

declare(strict_types=1);

use Chat\Guest;
use Toporia\Realtime\Exception\RealtimeException;
use Toporia\Realtime\Gateway;
use Toporia\Realtime\Realtime;

Realtime::configure(require __DIR__ . '/config/realtime.php');

$path = (string) parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
$posted = $_SERVER['REQUEST_METHOD'] === 'POST';
$answer = static function (int $status, mixed $what): void {
    http_response_code($status);
    header('Content-Type: application/json');
    echo json_encode($what, JSON_THROW_ON_ERROR);
};
$text = static fn (string $name): string => is_string($_POST[$name] ?? null) ? $_POST[$name] : '';

if ($path === '/') {
    header('Content-Type: text/html; charset=utf-8');
    readfile(__DIR__ . '/page.html');

    return;
}
if ($path === '/enter' && $posted) {
    $answer(Guest::enter($text('name')) ? 200 : 422, null);

    return;
}
$guest = Guest::ofThisRequest();
if ($guest === null) {
    $answer(401, ['error' => 'Give a name first.']);

    return;
}
try {
    if ($path === '/me') {
        $address = explode(':', (string) getenv('CHAT_GATEWAY'));
        $answer(200, [
            'id' => $guest->id,
            'name' => $guest->name,
            'key' => getenv('REALTIME_APP_KEY'),
            'host' => $address[0],
            'port' => (int) ($address[1] ?? 6001),
        ]);
    } elseif ($path === '/broadcasting/auth' && $posted) {
        // Every guest may join every room, and no other channel; a real chat would check its database here.
        $channel = $text('channel_name');
        if (preg_match('/\Apresence-room\.[a-z]{1,20}\z/', $channel) !== 1) {
            $answer(403, ['error' => 'There is no such room.']);

            return;
        }
        $member = ['user_id' => $guest->id, 'user_info' => ['name' => $guest->name]];
        $answer(200, Gateway::authorize($text('socket_id'), $channel, $member));
    } elseif ($path === '/say' && $posted) {
        $room = $text('room');
        $said = trim(mb_substr($text('text'), 0, 500));
        if (preg_match('/\A[a-z]{1,20}\z/', $room) !== 1 || $said === '') {
            $answer(422, ['error' => 'Say something, in a room.']);

            return;
        }
        // The sender's page has shown the message already, so its socket is excluded.
        $socket = $text('socket_id');
        $id = Realtime::broadcast(
            "room.$room",
            'said',
            ['from' => $guest->id, 'name' => $guest->name, 'text' => $said],
            except: $socket === '' ? null : $socket
        );
        $answer(200, ['id' => $id]);
    } else {
        $answer(404, null);
    }
} catch (RealtimeException $e) {
    $answer(400, ['error' => $e->getMessage()]);
}
