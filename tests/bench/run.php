<?php

/**
 * The benchmark's parts, one after the other; run.sh provides what they need. See its --help.
 */

declare(strict_types=1);

use Toporia\Realtime\Bench\ClientRunner;
use Toporia\Realtime\Bench\Latency;
use Toporia\Realtime\Bench\Load;
use Toporia\Realtime\Bench\Memory;
use Toporia\Realtime\Bench\Table;
use Toporia\Realtime\Bench\Throughput;

spl_autoload_register(static function (string $class): void {
    require __DIR__ . '/src/' . basename(strtr($class, '\\', '/')) . '.php';
});

/** @var array<string, string> $options */
$options = getopt('', [
    'extension:', 'rdkafka:', 'limit:', 'kafka:', 'embedded:', 'only:', 'messages:', 'rounds:', 'runs:', 'memory:',
]);
$messages = (int) $options['messages'];
$rounds = (int) $options['rounds'];
$runs = (int) $options['runs'];
$wanted = static fn (string $part): bool => str_contains($options['only'], $part);

$runner = new ClientRunner($options['extension'], $options['rdkafka'] ?? null, $options['limit']);
$table = new Table();
$latency = new Latency($runner, $table, $runs);

printf(
    "PHP %s, %s, %d processors. %s messages of %d bytes in each of %d rounds.\n"
    . "CPU: user and system time of the whole client process, per message.\n",
    PHP_VERSION,
    php_uname('m'),
    substr_count((string) file_get_contents('/proc/cpuinfo'), "processor\t"),
    number_format($messages),
    Load::BYTES,
    $rounds
);
echo $runner->peers();

// The embedded broker keeps 5 MB of a partition: messages are spread over more partitions, and there are not too many.
$places = ['Kafka' => [$options['kafka'] ?? '', '1'], 'embedded broker' => [$options['embedded'] ?? '', '40']];
foreach (array_filter($places, static fn (array $place): bool => $place[0] !== '') as $at => [$brokers, $partitions]) {
    $count = $at === 'Kafka' ? $messages : min($messages, 400_000);
    $throughput = new Throughput($runner, $table, $count, $rounds);
    if ($wanted('a')) {
        $throughput->produce($brokers, $at);
    }
    if ($wanted('b') || $wanted('e')) {
        $runner->time($runner->ours('fill', $brokers, (string) $count, Load::topic(Load::READ), $partitions));
    }
    if ($wanted('b')) {
        $throughput->consume($brokers, $at);
    }
    if ($wanted('c')) {
        $latency->broadcast($brokers, $at);
    }
    if ($wanted('d') && $at === 'Kafka') {
        (new Memory($runner, $table))->run($brokers, $at, (int) $options['memory']);
    }
    if ($wanted('e')) {
        $latency->firstRecord($brokers, $at, min($runs, 20));
    }
}
