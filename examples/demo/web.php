<?php

/**
 * The page's server, for `php -S`: the page itself, what happened since the last look, and new orders.
 */

declare(strict_types=1);

use Demo\Journal;
use Demo\Shop;
use Toporia\Realtime\Realtime;

require_once dirname(__DIR__, 2) . '/php/autoload.php';
require_once __DIR__ . '/Journal.php';
require_once __DIR__ . '/Shop.php';

$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);

if ($path === '/feed') {
    [$entries, $next] = Journal::ofThisRun()->read((int) ($_GET['from'] ?? 0));
    header('Content-Type: application/json');
    echo json_encode(['entries' => $entries, 'next' => $next]);
} elseif ($path === '/order' && $_SERVER['REQUEST_METHOD'] === 'POST') {
    $city = $_POST['city'] ?? '';
    $dish = $_POST['dish'] ?? '';
    if (!in_array($city, Shop::CITIES, true) || !isset(Shop::MENU[$dish])) {
        http_response_code(422);

        return;
    }
    Realtime::configure(require __DIR__ . '/config/realtime.php');
    (new Shop(Journal::ofThisRun()))->order($city, $dish, 'visitor');
} elseif ($path === '/') {
    header('Content-Type: text/html; charset=utf-8');
    readfile(__DIR__ . '/page.html');
} else {
    http_response_code(404);
}
