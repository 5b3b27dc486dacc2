<?php

/**
 * One mode's run: producer, workers and faults side by side, then a quiet phase until all records are done, then the
 * judgement.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Chaos;

use RuntimeException;

final class Run implements Part
{
    /** The longest time without progress while records are left, in seconds. */
    private const PATIENCE = 90.0;

    private Job $job;
    private Report $report;
    /** @var array<string, int> kind => how often it happened */
    private array $faults = [];
    private int $skipped = 0;

    public function __construct(
        private readonly Settings $settings,
        string $mode,
        private readonly Cluster $cluster,
        private readonly string $directory
    ) {
        $this->job = Job::create($settings, $mode, $cluster, $directory);
        $this->report = new Report("Chaos, $mode", $settings->again($mode));
    }

    public function run(): bool
    {
        $started = microtime(true);
        $this->cluster->createTopics($this->job->topics());
        $producer = new Process(
            Process::php($this->settings->extension, dirname(__DIR__) . '/producer.php', $this->job->toJson()),
            "$this->directory/producer.log"
        );
        $crew = new Crew($this->job, $this->settings->extension, $this->settings->workers);
        try {
            $this->trouble($crew, $producer);
            $stuck = $this->calm($crew, $producer);
            $crew->dismiss();
        } finally {
            $crew->destroy();
            $producer->kill();
        }
        $worked = microtime(true) - $started;
        $ledger = new Ledger($this->job->messages, $this->job);
        $ledger->fill($this->cluster, new Reader($this->cluster, $this->directory));

        $this->report->open();
        $this->happened($crew, $worked);
        $this->produced($producer);
        (new Judge($this->job, $this->job->behaviour(), $ledger, $this->report))->judge();
        // If at-most-once could not commit, it has dropped the records, and their offsets stay until others follow.
        $this->job->mode === 'at-most-once'
            ? $this->report->tell('Partitions left with dropped records at their end', count($stuck))
            : $this->report->none('Records that nobody finished', $stuck);
        $this->report->tell('Longest time from SIGTERM to exit code 0, in s', $crew->slowest());
        $this->report->violated($crew->violations());

        return $this->report->close();
    }

    /** Scheduled faults, and the faults of the callbacks, while the producer sends. */
    private function trouble(Crew $crew, Process $producer): void
    {
        $schedule = new Schedule(
            $this->settings->seed,
            $this->job->seconds,
            $this->settings->workers,
            $this->mortalNodes()
        );
        $start = microtime(true);
        $faults = $schedule->faults;
        while ($faults !== [] || ($producer->isRunning() && microtime(true) - $start < $this->job->seconds + 60)) {
            $now = microtime(true) - $start;
            while ($faults !== [] && $faults[0]['at'] <= $now) {
                $this->apply(array_shift($faults), $crew);
            }
            $crew->tick();
            $this->cluster->tick();
            usleep(20_000);
        }
    }

    /**
     * A single node that was killed loses transactions: after a restart it first has to elect leaders, and a
     * coordinator that ends a transaction before that skips its markers ("Couldn't find leader endpoint … likely
     * deleted already", Kafka 4.3.1). Results are then duplicated or never visible, with any client.
     */
    private function mortalNodes(): int
    {
        return $this->job->mode === 'exactly-once' && $this->cluster->nodes === 1 ? 0 : $this->cluster->nodes;
    }

    /** @param array{at: float, kind: string, which: int, seconds: float} $fault */
    private function apply(array $fault, Crew $crew): void
    {
        $kind = $fault['kind'];
        $happened = $kind === Schedule::NODE
            ? $this->cluster->kill($fault['which'], $fault['seconds'])
            : $crew->suffer($kind, $fault['which'], $fault['seconds']);
        if ($happened) {
            $this->faults[$kind] = ($this->faults[$kind] ?? 0) + 1;
        } else {
            $this->skipped++;
        }
    }

    /**
     * Waits until every record is committed.
     *
     * @return list<string> partitions where nothing moves any more, with what is left in each
     */
    private function calm(Crew $crew, Process $producer): array
    {
        $crew->calm();
        $left = null;
        $since = $asked = microtime(true);
        while (true) {
            $crew->tick();
            $this->cluster->tick();
            usleep(20_000);
            $now = microtime(true);
            if ($now - $asked < 2.0 || $producer->isRunning() && $now - $since < self::PATIENCE) {
                continue;
            }
            $asked = $now;
            $lag = $this->cluster->lag($this->job->group());
            if ($lag === [] && !$producer->isRunning() && $this->cluster->isWhole()) {
                return [];
            }
            if ($lag !== null && $lag !== $left) {
                $since = $now;
                $left = $lag;
            } elseif ($now - $since > self::PATIENCE) {
                return array_map(
                    static fn (string $where, int $count) => "$where: $count",
                    array_keys($left ?? ['unknown' => 1]),
                    $left ?? ['unknown' => 1]
                );
            }
        }
    }

    private function happened(Crew $crew, float $seconds): void
    {
        $this->report->tell('Seconds until everything was done', $seconds);
        foreach ($this->faults as $kind => $count) {
            $this->report->tell("Fault: $kind", $count);
        }
        $this->report->tell('Faults that found nobody to happen to', $this->skipped);
        $this->report->tell('Worker processes', $crew->started());
        ksort($crew->events);
        foreach ($crew->events as $event => $count) {
            $this->report->tell("Workers $event", $count);
        }
    }

    private function produced(Process $producer): void
    {
        // librdkafka's final log lines may follow it.
        $lines = preg_grep('/^\{/', explode("\n", $producer->output())) ?: [];
        $said = json_decode((string) end($lines), true);
        if ($producer->code() !== 0 || !is_array($said)) {
            throw new RuntimeException("The producer failed ($producer->log):\n" . $producer->output());
        }
        $this->report->holds('Delivery failures of the producer', $said['failures'], $said['failures'] === 0);
        $memory = $said['memory'];
        $this->report->tell(
            'Memory of the producer at 20 % and at 90 %, in MB',
            sprintf('%.1f  %.1f', $memory[2] / 1024, end($memory) / 1024)
        );
    }
}
