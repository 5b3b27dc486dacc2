<?php

/**
 * (d) Memory while many messages are processed. Arguments: brokers, messages, write or read.
 *
 * Prints the resident memory in KB after each tenth.
 */

declare(strict_types=1);

use Toporia\Realtime\Bench\Load;
use Toporia\Realtime\Bench\Meter;
use Toporia\Realtime\Broker;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;

require __DIR__ . '/begin.php';

[, $brokers, $messages, $what] = $argv;
$tenth = intdiv((int) $messages, 10);
$config = [
    'brokers' => $brokers,
    'topic_prefix' => 'benchmemory',
    'consumer_group' => 'bench-' . bin2hex(random_bytes(6)),
];
$memory = [];
$seen = 0;
if ($what === 'write') {
    Realtime::configure(['default_broker' => 'kafka', 'brokers' => ['kafka' => $config]]);
    while ($seen < $tenth * 10) {
        Realtime::broadcast(Load::CHANNEL, Load::EVENT, Load::data($seen));
        // In portions, so that the length of the queue does not affect the result.
        if (++$seen % 10000 === 0) {
            Realtime::flush(60000);
        }
        if ($seen % $tenth === 0) {
            $memory[] = Meter::memory();
        }
    }
} else {
    $broker = new Broker($config);
    $sum = 0.0;
    $broker->subscribe(
        Load::CHANNEL,
        static function (Message $message) use (&$memory, &$seen, &$sum, $tenth): void {
            $sum += $message->getData()['total'];
            if (++$seen % $tenth === 0) {
                $memory[] = Meter::memory();
            }
        }
    );
    $broker->consume(maxMessages: $tenth * 10);
    $broker->close();
}
echo json_encode($memory), "\n";
