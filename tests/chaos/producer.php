<?php

/**
 * Sends the numbers of a run, evenly over its time, while Kafka's nodes are killed and restarted; prints their results.
 *
 * php producer.php JOB(json)
 */

declare(strict_types=1);

use Toporia\Realtime\Chaos\Behaviour;
use Toporia\Realtime\Chaos\Job;
use Toporia\Realtime\Exception\QueueFullException;
use Toporia\Realtime\Realtime;

require __DIR__ . '/src/autoload.php';

$job = Job::fromJson($argv[1]);
Realtime::configure([
    'default_broker' => 'kafka',
    'brokers' => ['kafka' => [
        'brokers' => $job->brokers,
        'topic_prefix' => $job->prefix,
        'topic_strategy' => 'grouped',
        'default_topic' => $job->input(),
    ]],
]);
$broker = Realtime::broker();
$memory = static fn (): int => (int) explode(' ', (string) file_get_contents('/proc/self/statm'))[1] * 4;
$used = [];
$full = 0;
$start = microtime(true);
for ($number = 0; $number < $job->messages; $number++) {
    $key = Behaviour::key($number);
    while (true) {
        try {
            if ($key === null) {
                $broker->send($job->raw(), (string) $number);
            } else {
                Realtime::broadcast(Job::channel($key), 'number', $number, $key);
            }
            break;
        } catch (QueueFullException) {
            $full++;
        }
    }
    if ($number % 20 === 0) {
        $ahead = $start + $job->seconds * $number / $job->messages - microtime(true);
        usleep(max(0, (int) ($ahead * 1e6)));
    }
    if ($number % (int) ceil($job->messages / 10) === 0) {
        $used[] = $memory();
    }
}
Realtime::flush(60_000);
$stats = Realtime::stats();
echo json_encode([
    'sent' => $job->messages,
    'delivered' => $stats['messages_delivered'],
    'failures' => $stats['delivery_failures'],
    'queue_full' => $full,
    'memory' => $used,
]), "\n";
