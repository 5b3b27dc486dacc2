<?php

/**
 * One long-running worker per mode, whose callbacks sometimes throw: its memory does not grow.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Chaos;

use RuntimeException;

final class Memory implements Part
{
    /** The limit in KB: more is a leak, less is kept by allocators. */
    private const ROOM = 12 * 1024;
    private const MOST = 300_000;
    private const PROGRESS_TIMEOUT = 900.0;

    public function __construct(
        private readonly Settings $settings,
        private readonly Cluster $cluster,
        private readonly string $directory
    ) {
    }

    public function run(): bool
    {
        $report = new Report('Memory of one worker', $this->settings->again('memory'));
        $report->open();
        foreach (Settings::MODES as $mode) {
            $this->measure($mode, $report);
        }

        return $report->close();
    }

    private function measure(string $mode, Report $report): void
    {
        $directory = "$this->directory/$mode";
        is_dir($directory) || mkdir($directory);
        $job = Job::create($this->settings, $mode, $this->cluster, $directory, [
            'messages' => min($this->settings->messages, self::MOST),
            'seconds' => 0.0,
            'callbacks' => Behaviour::THROWING,
        ]);
        $this->cluster->createTopics($job->topics());
        $script = dirname(__DIR__) . '/producer.php';
        $producer = new Process(
            Process::php($this->settings->extension, $script, $job->toJson()),
            "$directory/producer.log"
        );
        if (!$producer->wait(300.0) || $producer->code() !== 0) {
            throw new RuntimeException("The producer failed:\n" . $producer->output());
        }
        $supervisor = new WorkerSupervisor($job, $this->settings->extension, 1);
        try {
            $deadline = microtime(true) + self::PROGRESS_TIMEOUT;
            while ($this->cluster->lag($job->group()) !== []) {
                $supervisor->tick();
                usleep(1_000_000);
                if (microtime(true) > $deadline) {
                    throw new RuntimeException("The worker did not finish in time; see $directory");
                }
            }
            $supervisor->stopWorkers();
        } finally {
            $supervisor->destroy();
        }
        $ledger = new Ledger($job->messages, $job);
        $ledger->readNotes("$directory/worker-001-0.notes");
        $used = array_merge(...array_values($ledger->memory));
        $early = $used[(int) (count($used) * 0.3)];
        $late = max(array_slice($used, (int) (count($used) * 0.8)));
        $report->mustHold(
            sprintf('%s: MB at 30 %% and at the end of %s messages', $mode, number_format($job->messages, 0, '.', ' ')),
            sprintf('%.1f  %.1f', $early / 1024, $late / 1024),
            $late - $early < self::ROOM
        );
        $report->addViolations($supervisor->violations());
    }
}
