<?php

/**
 * The workers of a run, and their supervisor: it restarts them, sends the signals, and records each exit.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Chaos;

final class WorkerSupervisor
{
    /** SIGTERM: the running callback (at most its longest sleep), plus 5 s, on a busy machine. */
    private const STOP_LIMIT = 5.0 + 5.0;
    private const SLOWEST_CALLBACK = Settings::POLL_INTERVAL_MS / 1000 + 2.0;

    /** @var array<int, Process> slot => who works there */
    private array $workers = [];
    /** @var array<int, float> slot => when a worker starts there again */
    private array $vacant = [];
    /** @var array<int, float> slot => when SIGSTOP ends */
    private array $frozen = [];
    /** @var array<int, float> slot => when it got SIGTERM */
    private array $leaving = [];
    /** @var array<int, true> slots that got SIGKILL */
    private array $killed = [];
    /** @var array<int, true> slots that stay empty when their worker ends */
    private array $closing = [];
    private int $started = 0;
    private float $slowest = 0.0;

    /** @var array<string, int> the number of each event */
    public array $events = [];
    /** @var array<string, string> forbidden event => its first occurrence */
    private array $violations = [];

    public function __construct(
        private readonly Job $job,
        private readonly string $extension,
        private readonly int $size
    ) {
        for ($slot = 0; $slot < $size; $slot++) {
            $this->start($slot);
        }
    }

    /**
     * Applies a scheduled fault to a worker. False if this is impossible at the moment.
     */
    public function applyFault(string $kind, int $slot, float $seconds): bool
    {
        if ($kind === Schedule::JOIN) {
            return $this->join();
        }
        $slot = $this->healthy($slot);
        if ($slot === null) {
            return false;
        }
        if ($kind === Schedule::LEAVE) {
            if (count($this->workers) + count($this->vacant) <= 2) {
                return false;
            }
            $this->closing[$slot] = true;
        }
        match ($kind) {
            Schedule::KILL => $this->killed[$slot] = true,
            Schedule::STOP => $this->frozen[$slot] = microtime(true) + $seconds,
            default => $this->leaving[$slot] = microtime(true),
        };
        $this->workers[$slot]->signal(match ($kind) {
            Schedule::KILL => SIGKILL,
            Schedule::STOP => SIGSTOP,
            default => SIGTERM,
        });

        return true;
    }

    /** Resumes frozen workers, starts those that are due, records exits. Call it often. */
    public function tick(): void
    {
        $now = microtime(true);
        foreach ($this->frozen as $slot => $until) {
            if ($now >= $until) {
                $this->workers[$slot]->signal(SIGCONT);
                unset($this->frozen[$slot]);
            }
        }
        foreach ($this->workers as $slot => $worker) {
            if (!$worker->isRunning()) {
                $this->ended($slot, $worker);
            }
        }
        foreach ($this->leaving as $slot => $since) {
            if ($now - $since > self::SLOWEST_CALLBACK + 2 * self::STOP_LIMIT) {
                $pid = $this->workers[$slot]->pid;
                $this->violations['A worker did not end after SIGTERM']
                    ??= sprintf('process %d, %.0f s', $pid, $now - $since);
                $this->killed[$slot] = true;
                unset($this->leaving[$slot]);
                $this->workers[$slot]->signal(SIGKILL);
            }
        }
        foreach ($this->vacant as $slot => $when) {
            if ($now >= $when) {
                unset($this->vacant[$slot]);
                $this->start($slot);
            }
        }
    }

    /** Ends the faults: frozen workers resume, and the missing ones are started. */
    public function endFaults(): void
    {
        $this->frozen = array_map(static fn () => 0.0, $this->frozen);
        $this->tick();
        for ($slot = 0; $slot < $this->size; $slot++) {
            unset($this->closing[$slot]);
            if (!isset($this->workers[$slot]) && !isset($this->vacant[$slot])) {
                $this->start($slot);
            }
        }
    }

    /** SIGTERM to every worker, and waits until they have exited. */
    public function stopWorkers(): void
    {
        $this->vacant = [];
        foreach ($this->workers as $slot => $worker) {
            $this->closing[$slot] = true;
            $this->leaving[$slot] ??= microtime(true);
            $worker->signal(SIGTERM);
        }
        while ($this->workers !== []) {
            $this->tick();
            usleep(20_000);
        }
    }

    /** Kills the remaining workers: for a run that fails. */
    public function destroy(): void
    {
        foreach ($this->workers as $worker) {
            $worker->kill();
        }
        $this->workers = [];
    }

    /** @return list<string> what must not have happened, with how often */
    public function violations(): array
    {
        return array_map(
            fn (string $what, string $first) => "$what (" . ($this->events[$what] ?? 1) . "×): $first",
            array_keys($this->violations),
            $this->violations
        );
    }

    /** The longest exit after SIGTERM, in seconds. */
    public function slowest(): float
    {
        return $this->slowest;
    }

    /** The number of started workers. */
    public function started(): int
    {
        return $this->started;
    }

    private function join(): bool
    {
        if (count($this->workers) + count($this->vacant) >= $this->size + 2) {
            return false;
        }
        $slot = 0;
        while (isset($this->workers[$slot]) || isset($this->vacant[$slot])) {
            $slot++;
        }
        $this->start($slot);

        return true;
    }

    /** This worker, or the next one without a fault. */
    private function healthy(int $slot): ?int
    {
        $slots = array_keys(array_diff_key($this->workers, $this->frozen, $this->leaving, $this->killed));
        sort($slots);
        foreach ($slots as $candidate) {
            if ($candidate >= $slot) {
                return $candidate;
            }
        }

        return $slots[0] ?? null;
    }

    private function start(int $slot): void
    {
        $this->started++;
        $name = sprintf('%s/worker-%03d-%d', $this->job->directory, $this->started, $slot);
        // Every second worker uses batches.
        $style = $slot % 2 === 1 ? 'batch' : 'record';
        $script = dirname(__DIR__) . '/worker.php';
        $this->workers[$slot] = new Process(
            Process::php($this->extension, $script, $this->job->toJson(), "$name.notes", $style),
            "$name.log"
        );
    }

    private function ended(int $slot, Process $worker): void
    {
        $asked = $this->leaving[$slot] ?? null;
        $why = $this->reason($slot, $worker, $asked);
        $this->events[$why] = ($this->events[$why] ?? 0) + 1;
        if ($asked !== null) {
            $this->slowest = max($this->slowest, microtime(true) - $asked);
        }
        if (!isset($this->closing[$slot])) {
            $this->vacant[$slot] = microtime(true) + ($this->violations === [] ? 0.3 : 1.0);
        }
        unset(
            $this->workers[$slot],
            $this->frozen[$slot],
            $this->leaving[$slot],
            $this->killed[$slot],
            $this->closing[$slot]
        );
    }

    private function reason(int $slot, Process $worker, ?float $asked): string
    {
        $signal = $worker->endedBy();
        if ($signal === SIGKILL && isset($this->killed[$slot])) {
            return 'ended by SIGKILL';
        }
        $notes = (string) file_get_contents(substr($worker->log, 0, -3) . 'notes');
        if ($signal === SIGTERM && $asked !== null && !str_contains($notes, "\nA ")) {
            return 'ended by SIGTERM before they consumed';
        }
        if ($signal === SIGTERM && $asked !== null && $this->wasExiting($worker, $notes)) {
            return 'ended by SIGTERM while they died in a callback';
        }
        if ($signal !== null) {
            return $this->violation("crashed with signal $signal", $worker);
        }
        $memory = $worker->code() === 255 && $worker->exceededMemory();
        if ($worker->code() === Behaviour::EXIT_CODE || $memory) {
            return $memory ? 'ended by memory_limit in a callback' : 'ended by exit in a callback';
        }
        if ($worker->code() === 0 && $asked !== null) {
            $late = microtime(true) - $asked;
            if ($late > self::STOP_LIMIT + self::SLOWEST_CALLBACK) {
                $this->violation('SIGTERM took too long', $worker);
            }

            return 'ended by SIGTERM with exit code 0';
        }

        return $this->violation(
            ($asked === null ? 'ended by themselves' : 'ended after SIGTERM') . ' with exit code '
            . $worker->code(),
            $worker
        );
    }

    /** Its callback had already ended the process; PHP handles no signals from then on. */
    private function wasExiting(Process $worker, string $notes): bool
    {
        if (preg_match('/\nB (\d+) \d+\n\z/', $notes, $last) !== 1) {
            return false;
        }
        $what = $this->job->behaviour()->of((int) $last[1]);

        return in_array($what, [Behaviour::EXIT, Behaviour::EXIT_ONCE], true)
            || $worker->exceededMemory();
    }

    private function violation(string $what, Process $worker): string
    {
        $this->violations[$what] ??= "the first: $worker->log:\n" . $worker->output();

        return $what;
    }
}
