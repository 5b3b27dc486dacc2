<?php

/**
 * Measures the figures of docs/capacity.md: the cost of topics for a worker, a producer and a gateway, and of a socket
 * for a gateway.
 *
 *     php -d extension=… tests/bench/capacity.php --kafka=host:port [--topics=100,1000,5000] [--sockets=1000,5000] [--records=200000]
 *
 * Apache Kafka, one node, empty. Memory is the resident memory of the process (VmRSS); CPU is its user and system time.
 */

declare(strict_types=1);

use Toporia\Realtime\Bench\Child;
use Toporia\Realtime\Bench\IdleConnections;
use Toporia\Realtime\Admin;

require __DIR__ . '/src/Child.php';
require __DIR__ . '/src/IdleConnections.php';

$options = getopt('', ['kafka:', 'topics:', 'sockets:', 'records:', 'prefix:'])
    + ['topics' => '100,1000,5000', 'sockets' => '1000,5000', 'records' => '200000'];
$kafka = $options['kafka'] ?? exit("--kafka=host:port is missing.\n");
$counts = static fn (string $list): array => array_filter(array_map('intval', explode(',', $list)));
$secret = bin2hex(random_bytes(16));
$environment = [
    'KAFKA_BROKERS' => $kafka,
    'REALTIME_APP_ID' => 'bench',
    'REALTIME_APP_KEY' => 'bench-key',
    'REALTIME_APP_SECRET' => $secret,
    'REALTIME_OPS_LISTEN' => 'off',
];
$console = dirname(__DIR__, 2) . '/console';
$row = static function (string $what, string ...$values): void {
    printf("%-58s %s\n", $what, implode('   ', array_map(static fn ($value) => str_pad($value, 16), $values)));
};
$ms = static fn (int $since): string => number_format((hrtime(true) - $since) / 1e6) . ' ms';
$mb = static fn (int $kb): string => number_format($kb / 1024, 1) . ' MB';

/** Memory of an idle child, and its CPU time over some seconds. */
$idle = static function (Child $child, int $seconds = 5) use ($mb): array {
    $before = $child->cpu();
    sleep($seconds);

    return [$mb($child->memory()), number_format(($child->cpu() - $before) / $seconds * 100, 1) . ' % CPU'];
};

foreach ($counts($options['topics']) as $count) {
    // With --prefix, topics of an earlier run are reused instead of created.
    $prefix = $options['prefix'] ?? 'cap' . bin2hex(random_bytes(3));
    $env = ['KAFKA_TOPIC_PREFIX' => $prefix, 'KAFKA_CONSUMER_GROUP' => $prefix] + $environment;
    $admin = new Admin(['brokers' => $kafka]);
    echo "\n$count topics of one partition\n";

    $start = hrtime(true);
    $known = $admin->topics("{$prefix}_*");
    for ($i = 1; $i <= $count; $i++) {
        isset($known["{$prefix}_user_$i"]) || $admin->createTopic("{$prefix}_user_$i", 1);
    }
    $row('created, one after the other', $ms($start));
    $start = hrtime(true);
    $found = count($admin->topics("{$prefix}_*"));
    $row("listed ($found found)", $ms($start));
    $admin->close();

    $start = hrtime(true);
    $worker = Child::php([$console, 'realtime:kafka:consume', '--channels=user.*', '--timeout=1000'], $env);
    $worker->waitFor('/assigned: .*user_/', 300.0);
    $row('worker: from its start to its assignment', $ms($start));
    // Until the first fetch of every partition.
    sleep(5);
    $row('worker: idle', ...$idle($worker));
    $start = hrtime(true);
    $worker->stop(120.0);
    $row('worker: SIGTERM to its end', $ms($start));

    $code = sprintf(
        'use Toporia\Realtime\Realtime; foreach ([1, 2, 3] as $round) { $t = hrtime(true); '
        . 'for ($i = 1; $i <= %d; $i++) { Realtime::broadcast("user.$i", "e", ["n" => $i]); } $q = hrtime(true); Realtime::flush(120000); '
        . 'printf("round %%d: queued in %%d ms, flushed in %%d ms\n", $round, ($q - $t) / 1e6, (hrtime(true) - $q) / 1e6); } '
        . 'echo "done\n"; sleep(600);',
        $count
    );
    $producer = Child::php(['-r', $code], $env);
    $producer->waitFor('/done/', 300.0);
    foreach ($producer->lines('/round/') as $line) {
        $row('producer: a message to each', $line);
    }
    $row('producer: idle', ...$idle($producer));
    $producer->kill();

    $start = hrtime(true);
    $gateway = Child::php([$console, 'realtime:gateway', '--port=0'], $env);
    $gateway->waitFor('/is ready/', 300.0);
    $row('gateway: from its start to ready', $ms($start));
    sleep(3);
    $row('gateway: idle, no sockets', ...$idle($gateway));
    $gateway->stop(30.0);
}

$env = ['KAFKA_TOPIC_PREFIX' => 'cap' . bin2hex(random_bytes(3)), 'KAFKA_TOPIC_STRATEGY' => 'grouped'] + $environment;
foreach ($counts($options['sockets']) as $count) {
    echo "\n$count sockets on one gateway, topics grouped\n";
    $channels = [
        'each on a channel of its own' => static fn (int $n): ?string => "public.c$n",
        'all on one channel' => static fn (int $n): ?string => 'public.all',
        'without a subscription' => static fn (int $n): ?string => null,
    ];
    foreach ($channels as $what => $channel) {
        $gateway = Child::php([$console, 'realtime:gateway', '--port=0'], $env + ['REALTIME_PUBLIC_CHANNELS' => 'public.**']);
        $address = $gateway->waitFor('/listens on ([0-9.]+:\d+)/', 60.0)[1];
        $gateway->waitFor('/is ready/', 60.0);
        [$before, $cpu] = [$gateway->memory(), $gateway->cpu()];
        $connections = new IdleConnections($address, 'bench-key', $count, $channel);
        $connecting = number_format(($gateway->cpu() - $cpu) / $count * 1e6) . ' µs to connect';
        sleep(1);
        $each = number_format(($gateway->memory() - $before) / $count, 2) . ' KB a socket';
        $row($what, $each, $connecting, ...$idle($gateway));
        unset($connections);
        $gateway->stop(30.0);
    }
}

if ((int) $options['records'] > 0) {
    $count = (int) $options['records'];
    echo "\n$count records that no socket waits for, through one gateway\n";
    $gateway = Child::php([$console, 'realtime:gateway', '--port=0'], $env);
    $gateway->waitFor('/is ready/', 60.0);
    $code = sprintf(
        'use Toporia\Realtime\Realtime; for ($i = 0; $i < %d; $i++) { Realtime::broadcast("user.$i", "order.created", '
        . '["id" => $i, "total" => 149.95, "note" => "%s"]); } Realtime::flush(120000); echo "done\n";',
        $count,
        str_repeat('x', 100)
    );
    // The first messages create the topic.
    foreach ([1000, $count] as $n) {
        $cpu = $gateway->cpu();
        $producer = Child::php(['-r', str_replace("\$i < $count;", "\$i < $n;", $code)], $env);
        $producer->waitFor('/done/', 300.0);
        $producer->stop(30.0);
        sleep(3);
    }
    $row('gateway', number_format(($gateway->cpu() - $cpu) / $count * 1e6, 2) . ' µs CPU a record', $mb($gateway->memory()));
    $gateway->stop(30.0);
}
