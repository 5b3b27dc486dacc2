<?php

declare(strict_types=1);

namespace Toporia\Realtime\Dlq;

use Toporia\Realtime\Worker\Text;

/**
 * The letters that a purge will delete, shown before it is confirmed. Kafka only deletes the beginning of a partition,
 * so a letter that must stay keeps all later ones.
 */
final class PurgePlan
{
    /** @var array<string, array<int, int>> offset up to which records are deleted, by topic and partition */
    public array $before = [];
    /** @var array<string, int> number of letters to delete, by topic */
    private array $deleted = [];
    /** @var array<string, array<int, LetterId>> first letter to keep, by topic and partition */
    private array $kept = [];
    /** @var array<string, array<int, int>> letters kept only because an earlier one is kept, by topic and partition */
    private array $blocked = [];

    /**
     * Adds the next letter of a partition.
     *
     * @param bool $delete true if the letter is selected for deletion
     */
    public function add(LetterId $letter, bool $delete): void
    {
        $topic = $letter->topic;
        $partition = $letter->partition;
        $firstKept = $this->kept[$topic][$partition] ?? null;
        if ($firstKept === null && $delete) {
            $this->before[$topic][$partition] = $letter->offset + 1;
            $this->deleted[$topic] = ($this->deleted[$topic] ?? 0) + 1;
        } elseif ($firstKept === null) {
            $this->kept[$topic][$partition] = $letter;
        } elseif ($delete) {
            $this->blocked[$topic][$partition] = ($this->blocked[$topic][$partition] ?? 0) + 1;
        }
    }

    /**
     * Number of letters to delete.
     */
    public function count(): int
    {
        return array_sum($this->deleted);
    }

    /**
     * Number of topics with letters to delete.
     */
    public function topics(): int
    {
        return count($this->deleted);
    }

    /**
     * Number of letters that are selected but must stay.
     */
    public function blocked(): int
    {
        return array_sum(array_map(array_sum(...), $this->blocked));
    }

    /**
     * One line per topic, and one per letter that blocks others.
     *
     * @return list<string>
     */
    public function summary(): array
    {
        $lines = [];
        foreach ($this->deleted as $topic => $count) {
            $lines[] = '  ' . Text::count($count, 'letter') . " of $topic";
        }
        foreach ($this->blocked as $topic => $partitions) {
            foreach ($partitions as $partition => $count) {
                $stay = $count === 1 ? 'stays' : 'stay';
                $lines[] = '  ' . Text::count($count, 'letter') . " of $topic $stay"
                    . " behind {$this->kept[$topic][$partition]}, which must stay: Kafka only deletes the "
                    . 'beginning of a partition.';
            }
        }

        return $lines;
    }
}
