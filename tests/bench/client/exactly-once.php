<?php

/**
 * An exactly-once consumer whose callback forwards every record, with consume()'s default batch size. Arguments:
 * brokers, messages, transaction_ms. The time begins with the first record. Then 50 single records: from the call
 * that sends one until a reader of committed records has its result.
 */

declare(strict_types=1);

use Toporia\Realtime\Bench\Load;
use Toporia\Realtime\Broker;
use Toporia\Realtime\Message;

require __DIR__ . '/begin.php';

[, $brokers, $messages, $transaction] = $argv;
$messages = (int) $messages;
$start = null;
$config = ['brokers' => $brokers, 'topic_prefix' => Load::READ];
$broker = new Broker([
    'consumer_group' => 'bench-' . bin2hex(random_bytes(6)),
    'delivery' => 'exactly-once',
    'transaction_ms' => (int) $transaction,
] + $config);
$broker->subscribeTopic(Load::topic(Load::READ), static function (Message $message) use ($broker, &$start): void {
    $start ??= hrtime(true);
    $broker->send(Load::READ . '.forwarded', (string) $message->getPayload(), 'user.1');
});
$broker->consume(1000, 100, $messages);
$wall = (hrtime(true) - $start) / 1000;
$broker->close();
$transactions = $broker->stats()['transactions'] ?? null;
echo json_encode([
    'messages' => $messages,
    'wall_us' => $wall,
    'per_second' => $messages / $wall * 1e6,
    'transactions' => $transactions,
]), "\n";
