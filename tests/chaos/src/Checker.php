<?php

/**
 * Compares a ledger with the promises of the mode.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Chaos;

final class Checker
{
    public function __construct(
        private readonly Job $job,
        private readonly Behaviour $behaviour,
        private readonly Ledger $ledger,
        private readonly Report $report
    ) {
    }

    public function check(): void
    {
        $this->sending();
        match ($this->job->mode) {
            'at-least-once' => $this->atLeastOnce(),
            'at-most-once' => $this->atMostOnce(),
            default => $this->exactlyOnce(),
        };
        $foreign = $this->ledger->foreign;
        $this->report->mustHold('Records that are not numbers of this run', $foreign, $foreign === 0);
    }

    /** The producer's own promise: idempotent, everything acknowledged. */
    private function sending(): void
    {
        $ledger = $this->ledger;
        $this->report->info('Sent', $this->job->messages);
        $this->report->mustBeEmpty(
            'Sent and not in the input topics',
            $ledger->numbers(fn (int $n) => $ledger->input[$n] === "\0")
        );
        $this->report->mustBeEmpty('Twice in the input topics', Ledger::repeated($ledger->input));
        $this->report->mustBeEmpty('Out of order in the input topics, by key', $ledger->inputDisorder);
    }

    private function atLeastOnce(): void
    {
        $this->account();
        $this->report->info('Numbers forwarded more than once', count(Ledger::repeated($this->ledger->output)));
        $this->report->info('Dead letters more than once', count(Ledger::repeated($this->ledger->dead)));
        $this->missing();
        $this->deadLetters();
        $this->order();
    }

    private function exactlyOnce(): void
    {
        $ledger = $this->ledger;
        $this->account();
        $this->report->mustBeEmpty('Twice in the output topic', Ledger::repeated($ledger->output));
        $this->report->mustBeEmpty('Twice in the dead-letter topics', array_map(
            static fn (int $n): string => "$n: " . implode(' and ', $ledger->places[$n] ?? []),
            Ledger::repeated($ledger->dead)
        ));
        $this->report->mustBeEmpty(
            'In the output and in the dead-letter topics',
            $ledger->numbers(fn (int $n) => $ledger->output[$n] !== "\0" && $ledger->dead[$n] !== "\0")
        );
        $this->missing();
        $this->deadLetters();
        $this->order();
    }

    private function atMostOnce(): void
    {
        $ledger = $this->ledger;
        $this->account();
        $this->report->mustBeEmpty('Begun twice', Ledger::repeated($ledger->begun));
        $this->report->mustBeEmpty('Twice in the output topic', Ledger::repeated($ledger->output));
        $this->report->mustBeEmpty('Dead letters', $ledger->numbers(fn (int $n) => $ledger->dead[$n] !== "\0"));
        $lost = $ledger->numbers(fn (int $n) => $ledger->begun[$n] === "\0");
        $this->report->info('Never begun (lost with a process, as this mode allows)', count($lost));
        $this->report->info('Handled and not in the output topic', count($ledger->numbers(
            fn (int $n) => $ledger->handled[$n] !== "\0" && $ledger->output[$n] === "\0"
        )));
        // A frozen worker handles its committed records when others are ahead: order is not guaranteed.
        $this->report->info('Out of order in the output, by key', count($ledger->disorder));
    }

    private function account(): void
    {
        $ledger = $this->ledger;
        $this->report->info('Begun', self::distinct($ledger->begun));
        $this->report->info('Handled', self::distinct($ledger->handled));
        $this->report->info('In the output topic', self::distinct($ledger->output));
        $this->report->info('In the dead-letter topics', self::distinct($ledger->dead));
    }

    private function missing(): void
    {
        $ledger = $this->ledger;
        $this->report->mustBeEmpty('Missing: neither in the output nor in the dead letters', $ledger->numbers(
            fn (int $n) => $ledger->output[$n] === "\0" && $ledger->dead[$n] === "\0"
        ));
        $this->report->mustBeEmpty('Handled and not forwarded', $ledger->numbers(
            fn (int $n) => $ledger->handled[$n] !== "\0" && $ledger->output[$n] === "\0"
        ));
    }

    private function deadLetters(): void
    {
        $ledger = $this->ledger;
        $behaviour = $this->behaviour;
        $failing = array_filter(array_keys($behaviour->special()), fn (int $n) => $behaviour->isDeadLettered($n));
        $this->report->info('Permanent failures', count($failing));
        $this->report->mustBeEmpty('Permanent failures that are not dead-lettered', array_values(array_filter(
            $failing,
            fn (int $n) => $ledger->dead[$n] === "\0"
        )));
        $wrong = $odd = [];
        foreach ($ledger->classes as $number => $class) {
            $what = $behaviour->of($number);
            if (!isset(Behaviour::DOOMED[$what])) {
                $wrong[] = "$number ($what: $class)";
            } elseif ($class !== Behaviour::DOOMED[$what]) {
                $odd[] = "$number ($what: $class)";
            }
        }
        $this->report->mustBeEmpty('Dead-lettered although handleable', $wrong);
        $this->report->mustBeEmpty('Dead-lettered with a wrong exception class', $odd);
        $this->report->mustBeEmpty('Dead-lettered after a wrong number of attempts', $this->unexpectedAttempts());
    }

    /** @return list<string> */
    private function unexpectedAttempts(): array
    {
        $odd = [];
        foreach ($this->ledger->attempts as $number => $attempts) {
            $what = $this->behaviour->of($number);
            // An attempt interrupted by SIGKILL is not counted. An attempt that ended the process counts for its whole
            // batch, also for records that were not begun.
            $least = $what === Behaviour::PERMANENT ? 1 : 4;
            if ($this->behaviour->isDeadLettered($number) && ($attempts < $least || $attempts > 4)) {
                $odd[] = "$number ($what: $attempts)";
            }
        }

        return $odd;
    }

    private function order(): void
    {
        $this->report->mustBeEmpty('Out of order in the output, by key (first appearances)', $this->ledger->disorder);
    }

    private static function distinct(string $counts): int
    {
        return strlen($counts) - substr_count($counts, "\0");
    }
}
