<?php

/**
 * A producer during a minute's outage of the whole Kafka: one process exits in it, one starts in it; the spool keeps
 * all.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Chaos;

final class Outage implements Part
{
    private const RATE = 100;
    private const TOPIC_PARTITIONS = 6;

    private string $prefix;
    /** @var list<string> */
    private array $errors = [];

    public function __construct(
        private readonly Settings $settings,
        private readonly Cluster $cluster,
        private readonly string $directory
    ) {
        $this->prefix = 'chaos-' . bin2hex(random_bytes(3));
    }

    public function run(): bool
    {
        $topic = "{$this->prefix}_orders";
        $this->cluster->createTopics([$topic => self::TOPIC_PARTITIONS]);
        // The first exits during the outage, the second runs only within it, and the third sees its end.
        $down = (float) max(10, min(60, $this->settings->seconds / 2));
        $plan = [5.0 + $down / 2, $down / 4, $down / 4 + 10.0];
        $from = 0;
        $started = microtime(true);
        $fell = null;
        foreach ($plan as $index => $seconds) {
            $count = (int) ($seconds * self::RATE);
            $process = $this->producer($index, $from, $count, $seconds);
            $from += $count;
            while ($process->isRunning()) {
                $now = microtime(true);
                if ($fell === null && $now - $started > 5.0) {
                    $this->cluster->killAll();
                    $fell = microtime(true);
                }
                if ($fell > 0.0 && $now - $fell > $down) {
                    $this->cluster->startAll();
                    $fell = 0.0;
                }
                usleep(50_000);
            }
            $this->check($process);
        }
        $this->check($this->drain());

        return $this->checkResults($topic, $from, $down);
    }

    private function checkResults(string $topic, int $sent, float $down): bool
    {
        $counts = str_repeat("\0", $sent);
        $last = $mixed = [];
        $record = static function (int $p, int $o, string $h, ?string $key, string $v) use (&$counts, &$last, &$mixed) {
            $number = json_decode($v, true)['data'] ?? -1;
            if ($number < 0 || $counts[$number] !== "\0") {
                $counts[max(0, $number)] = "\2";
                return;
            }
            $counts[$number] = "\1";
            if ($number < ($last[$key] ?? -1)) {
                $mixed[] = "$key: $number after $last[$key]";
            }
            $last[$key] = max($number, $last[$key] ?? -1);
        };
        (new Reader($this->cluster, $this->directory))->read($topic, self::TOPIC_PARTITIONS, $record);
        $missing = [];
        for ($number = 0; $number < $sent; $number++) {
            if ($counts[$number] === "\0") {
                $missing[] = $number;
            }
        }

        $report = new Report('A producer whose Kafka is down', $this->settings->again('outage'));
        $report->open();
        $report->info('Seconds without Kafka', $down);
        $report->info('Processes that sent, one after the other', 3);
        $report->info('Sent', $sent);
        $report->mustBeEmpty('Lost', $missing);
        $report->info('Delivered twice', substr_count($counts, "\2"));
        $report->info('Out of order, by key (first appearances)', count($mixed));
        $report->mustBeEmpty('Left in the spool', glob("$this->directory/spool/*/*.spool") ?: []);
        $report->addViolations($this->errors);

        return $report->close();
    }

    private function producer(int $index, int $from, int $count, float $seconds): Process
    {
        return $this->script("producer-$index", [(string) $from, (string) $count, (string) $seconds]);
    }

    /** A final process that sends no number of this run, and waits until the spool is empty. */
    private function drain(): Process
    {
        $process = $this->script('drain', ['0', '0', '0']);
        $process->wait(60.0);

        return $process;
    }

    /** @param list<string> $arguments */
    private function script(string $name, array $arguments): Process
    {
        $spool = "$this->directory/spool";
        is_dir($spool) || mkdir($spool);

        return new Process(
            Process::php($this->settings->extension, dirname(__DIR__) . '/spooling.php', ...$arguments),
            "$this->directory/$name.log",
            [
                'KAFKA_BROKERS' => $this->cluster->address,
                'KAFKA_TOPIC_PREFIX' => $this->prefix,
                'REALTIME_SPOOL' => $spool,
            ]
        );
    }

    private function check(Process $process): void
    {
        if ($process->code() !== 0) {
            $this->errors[] = "A producer ended with exit code {$process->code()} ($process->log):\n"
                . $process->output();
        }
        if (str_contains($process->output(1000), 'LOST')) {
            $this->errors[] = "A producer says that it lost something ($process->log):\n" . $process->output();
        }
    }
}
