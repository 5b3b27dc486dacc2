<?php

/**
 * One mode's run: producer, workers and faults side by side, then a quiet phase until all records are done, then the
 * checks.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Chaos;

use RuntimeException;

final class Run implements Part
{
    /** The longest time without progress while records are left, in seconds. */
    private const PROGRESS_TIMEOUT = 90.0;

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
        $supervisor = new WorkerSupervisor($this->job, $this->settings->extension, $this->settings->workers);
        try {
            $this->injectFaults($supervisor, $producer);
            $stuck = $this->waitUntilDone($supervisor, $producer);
            $supervisor->stopWorkers();
        } finally {
            $supervisor->destroy();
            $producer->kill();
        }
        $worked = microtime(true) - $started;
        $ledger = new Ledger($this->job->messages, $this->job);
        $ledger->fill($this->cluster, new Reader($this->cluster, $this->directory));

        $this->report->open();
        $this->reportFaults($supervisor, $worked);
        $this->produced($producer);
        (new Checker($this->job, $this->job->behaviour(), $ledger, $this->report))->check();
        // If at-most-once could not commit, it has dropped the records, and their offsets stay until others follow.
        $this->job->mode === 'at-most-once'
            ? $this->report->info('Partitions left with dropped records at their end', count($stuck))
            : $this->report->mustBeEmpty('Unfinished records', $stuck);
        $this->report->info('Longest time from SIGTERM to exit code 0, in s', $supervisor->slowest());
        $this->report->addViolations($supervisor->violations());

        return $this->report->close();
    }

    /** Scheduled faults, and the faults of the callbacks, while the producer sends. */
    private function injectFaults(WorkerSupervisor $supervisor, Process $producer): void
    {
        $schedule = new Schedule(
            $this->settings->seed,
            $this->job->seconds,
            $this->settings->workers,
            $this->killableNodes()
        );
        $start = microtime(true);
        $faults = $schedule->faults;
        while ($faults !== [] || ($producer->isRunning() && microtime(true) - $start < $this->job->seconds + 60)) {
            $now = microtime(true) - $start;
            while ($faults !== [] && $faults[0]['at'] <= $now) {
                $this->apply(array_shift($faults), $supervisor);
            }
            $supervisor->tick();
            $this->cluster->tick();
            usleep(20_000);
        }
    }

    /**
     * A single node that was killed loses transactions: after a restart it first has to elect leaders, and a
     * coordinator that ends a transaction before that skips its markers ("Couldn't find leader endpoint … likely
     * deleted already", Kafka 4.3.1). Results are then duplicated or never visible, with any client.
     */
    private function killableNodes(): int
    {
        return $this->job->mode === 'exactly-once' && $this->cluster->nodes === 1 ? 0 : $this->cluster->nodes;
    }

    /** @param array{at: float, kind: string, which: int, seconds: float} $fault */
    private function apply(array $fault, WorkerSupervisor $supervisor): void
    {
        $kind = $fault['kind'];
        $happened = $kind === Schedule::NODE
            ? $this->cluster->kill($fault['which'], $fault['seconds'])
            : $supervisor->applyFault($kind, $fault['which'], $fault['seconds']);
        if ($happened) {
            $this->faults[$kind] = ($this->faults[$kind] ?? 0) + 1;
        } else {
            $this->skipped++;
        }
    }

    /**
     * Waits until every record is committed.
     *
     * @return list<string> partitions without progress, with the number of records left in each
     */
    private function waitUntilDone(WorkerSupervisor $supervisor, Process $producer): array
    {
        $supervisor->endFaults();
        $left = null;
        $since = $asked = microtime(true);
        while (true) {
            $supervisor->tick();
            $this->cluster->tick();
            usleep(20_000);
            $now = microtime(true);
            if ($now - $asked < 2.0 || $producer->isRunning() && $now - $since < self::PROGRESS_TIMEOUT) {
                continue;
            }
            $asked = $now;
            $lag = $this->cluster->lag($this->job->group());
            if ($lag === [] && !$producer->isRunning() && $this->cluster->isInSync()) {
                return [];
            }
            if ($lag !== null && $lag !== $left) {
                $since = $now;
                $left = $lag;
            } elseif ($now - $since > self::PROGRESS_TIMEOUT) {
                return array_map(
                    static fn (string $where, int $count) => "$where: $count",
                    array_keys($left ?? ['unknown' => 1]),
                    $left ?? ['unknown' => 1]
                );
            }
        }
    }

    private function reportFaults(WorkerSupervisor $supervisor, float $seconds): void
    {
        $this->report->info('Seconds until everything was done', $seconds);
        foreach ($this->faults as $kind => $count) {
            $this->report->info("Fault: $kind", $count);
        }
        $this->report->info('Faults without a suitable worker or node', $this->skipped);
        $this->report->info('Worker processes', $supervisor->started());
        ksort($supervisor->events);
        foreach ($supervisor->events as $event => $count) {
            $this->report->info("Workers $event", $count);
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
        $this->report->mustHold('Delivery failures of the producer', $said['failures'], $said['failures'] === 0);
        $memory = $said['memory'];
        $this->report->info(
            'Memory of the producer at 20 % and at 90 %, in MB',
            sprintf('%.1f  %.1f', $memory[2] / 1024, end($memory) / 1024)
        );
    }
}
