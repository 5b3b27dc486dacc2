<?php

/**
 * Compares a ledger with the promises of the mode.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Chaos;

final class Judge
{
    public function __construct(
        private readonly Job $job,
        private readonly Behaviour $behaviour,
        private readonly Ledger $ledger,
        private readonly Report $report
    ) {
    }

    public function judge(): void
    {
        $this->sending();
        match ($this->job->mode) {
            'at-least-once' => $this->atLeastOnce(),
            'at-most-once' => $this->atMostOnce(),
            default => $this->exactlyOnce(),
        };
        $foreign = $this->ledger->foreign;
        $this->report->holds('Records that are no number of this run', $foreign, $foreign === 0);
    }

    /** The producer's own promise: idempotent, everything acknowledged. */
    private function sending(): void
    {
        $ledger = $this->ledger;
        $this->report->tell('Sent', $this->job->messages);
        $this->report->none(
            'Sent and not in the input topics',
            $ledger->numbers(fn (int $n) => $ledger->input[$n] === "\0")
        );
        $this->report->none('Twice in the input topics', Ledger::repeated($ledger->input));
        $this->report->none('Out of order in the input topics, by key', $ledger->inputDisorder);
    }

    private function atLeastOnce(): void
    {
        $this->account();
        $this->report->tell('Numbers forwarded more than once', count(Ledger::repeated($this->ledger->output)));
        $this->report->tell('Dead letters more than once', count(Ledger::repeated($this->ledger->dead)));
        $this->missing();
        $this->deadLetters();
        $this->order();
    }

    private function exactlyOnce(): void
    {
        $ledger = $this->ledger;
        $this->account();
        $this->report->none('Twice in the output topic', Ledger::repeated($ledger->output));
        $this->report->none('Twice in the dead-letter topics', Ledger::repeated($ledger->dead));
        $this->report->none(
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
        $this->report->none('Begun twice', Ledger::repeated($ledger->begun));
        $this->report->none('Twice in the output topic', Ledger::repeated($ledger->output));
        $this->report->none('Dead letters', $ledger->numbers(fn (int $n) => $ledger->dead[$n] !== "\0"));
        $lost = $ledger->numbers(fn (int $n) => $ledger->begun[$n] === "\0");
        $this->report->tell('Never begun (lost with a process, as this mode allows)', count($lost));
        $this->report->tell('Handled and not in the output topic', count($ledger->numbers(
            fn (int $n) => $ledger->handled[$n] !== "\0" && $ledger->output[$n] === "\0"
        )));
        // A frozen worker handles its committed records when others are ahead: order is not guaranteed.
        $this->report->tell('Out of order in the output, by key', count($ledger->disorder));
    }

    private function account(): void
    {
        $ledger = $this->ledger;
        $this->report->tell('Begun', self::distinct($ledger->begun));
        $this->report->tell('Handled', self::distinct($ledger->handled));
        $this->report->tell('In the output topic', self::distinct($ledger->output));
        $this->report->tell('In the dead-letter topics', self::distinct($ledger->dead));
    }

    private function missing(): void
    {
        $ledger = $this->ledger;
        $this->report->none('Missing: neither in the output nor in the dead letters', $ledger->numbers(
            fn (int $n) => $ledger->output[$n] === "\0" && $ledger->dead[$n] === "\0"
        ));
        $this->report->none('Handled and not forwarded', $ledger->numbers(
            fn (int $n) => $ledger->handled[$n] !== "\0" && $ledger->output[$n] === "\0"
        ));
    }

    private function deadLetters(): void
    {
        $ledger = $this->ledger;
        $behaviour = $this->behaviour;
        $doomed = array_filter(array_keys($behaviour->special()), fn (int $n) => $behaviour->isDoomed($n));
        $this->report->tell('Doomed (they fail whatever is done)', count($doomed));
        $this->report->none('Doomed and not in the dead letters', array_values(array_filter(
            $doomed,
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
        $this->report->none('Dead-lettered though it can be handled', $wrong);
        $this->report->none('Dead-lettered with another class than it threw', $odd);
        $this->report->none('Dead-lettered after another number of attempts', $this->oddAttempts());
    }

    /** @return list<string> */
    private function oddAttempts(): array
    {
        $odd = [];
        foreach ($this->ledger->attempts as $number => $attempts) {
            $what = $this->behaviour->of($number);
            // An attempt interrupted by SIGKILL is not counted. An attempt that ended the process counts for its whole
            // batch, also for records that were not begun.
            $least = $what === Behaviour::PERMANENT ? 1 : 4;
            if ($this->behaviour->isDoomed($number) && ($attempts < $least || $attempts > 4)) {
                $odd[] = "$number ($what: $attempts)";
            }
        }

        return $odd;
    }

    private function order(): void
    {
        $this->report->none('Out of order in the output, by key (first appearances)', $this->ledger->disorder);
    }

    private static function distinct(string $counts): int
    {
        return strlen($counts) - substr_count($counts, "\0");
    }
}
