<?php

/**
 * PHP-FPM with Debian's configuration, several clients, repeated reloads: no message of an answered request is lost.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Chaos;

use Toporia\Realtime\Tests\Producing\FpmServer;

final class Fpm implements Part
{
    private const CLIENTS = 3;
    private const WORKERS = 4;
    private const TOPIC_PARTITIONS = 6;

    public function __construct(
        private readonly Settings $settings,
        private readonly Cluster $cluster,
        private readonly string $directory
    ) {
    }

    public function run(): bool
    {
        $prefix = 'chaos-' . bin2hex(random_bytes(3));
        $topic = "{$prefix}_web";
        $this->cluster->createTopics([$topic => self::TOPIC_PARTITIONS]);
        // Its workers run as another user without access to this directory.
        $place = sys_get_temp_dir() . "/$prefix";
        mkdir($place);
        $server = new FpmServer(
            $place,
            $this->settings->extension,
            'echo Realtime::broadcast("web", "request", str_repeat("x", 200));',
            ['KAFKA_BROKERS' => $this->cluster->address, 'KAFKA_TOPIC_PREFIX' => $prefix],
            [],
            self::WORKERS
        );
        try {
            $reloads = $this->load($server, $place);
        } finally {
            $server->stop();
        }
        $answered = [];
        foreach (glob("$this->directory/client-*.log") ?: [] as $file) {
            array_push($answered, ...(file($file, FILE_IGNORE_NEW_LINES) ?: []));
        }
        $delivered = [];
        $reader = new Reader($this->cluster, $this->directory);
        $record = static function (int $p, int $o, string $h, ?string $key, string $value) use (&$delivered) {
            $id = json_decode($value, true)['id'] ?? '';
            $delivered[$id] = ($delivered[$id] ?? 0) + 1;
        };
        $reader->read($topic, self::TOPIC_PARTITIONS, $record);

        $report = new Report('PHP-FPM, reloaded under load', $this->settings->again('fpm'));
        $report->open();
        $report->info('Reloads (SIGUSR2)', $reloads);
        $report->mustHold('Requests answered', count($answered), count($answered) > $reloads * 10);
        $report->info('Messages in the topic', count($delivered));
        $report->mustBeEmpty('Answered and lost', array_values(array_diff($answered, array_keys($delivered))));
        $report->mustBeEmpty('Twice in the topic', array_keys(array_filter($delivered, static fn (int $n) => $n > 1)));
        preg_match_all('/exited on signal \d+ \((?!SIGTERM|SIGQUIT|SIGKILL)\S+\)/', $server->log(), $crashes);
        $report->mustBeEmpty('Workers that crashed', $crashes[0]);
        array_map('unlink', glob("$place/*") ?: []);
        rmdir($place);

        return $report->close();
    }

    /** @return int how often it was reloaded */
    private function load(FpmServer $server, string $place): int
    {
        $clients = [];
        for ($client = 0; $client < self::CLIENTS; $client++) {
            $command = [PHP_BINARY, dirname(__DIR__) . '/client.php', $place];
            $clients[] = new Process($command, "$this->directory/client-$client.log");
        }
        mt_srand($this->settings->seed + 2);
        $until = microtime(true) + $this->settings->seconds;
        for ($reloads = 0; microtime(true) < $until; $reloads++) {
            usleep(mt_rand(300, 2500) * 1000);
            $server->signal(SIGUSR2);
        }
        usleep(500_000);
        touch("$place/stop");
        foreach ($clients as $client) {
            $client->wait(30.0);
        }

        return $reloads;
    }
}
