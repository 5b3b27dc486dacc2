<?php

/**
 * What a purge is going to delete: shown before it is confirmed.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Dlq;

use Toporia\Realtime\Worker\Text;

/**
 * Kafka deletes the beginning of a partition only, so a letter that must stay keeps all those behind it.
 */
final class PurgePlan
{
    /** @var array<string, array<int, int>> the offset before which all is deleted, by topic and partition */
    public array $before = [];
    /** @var array<string, int> letters that are deleted, by topic */
    private array $deleted = [];
    /** @var array<string, array<int, LetterId>> the first letter that must stay, by topic and partition */
    private array $kept = [];
    /** @var array<string, array<int, int>> letters that stay only because one before them must */
    private array $blocked = [];

    /**
     * Takes the next letter of a partition in.
     *
     * @param bool $delete whether it is to be deleted
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
     * How many letters are to be deleted.
     */
    public function count(): int
    {
        return array_sum($this->deleted);
    }

    /**
     * How many topics something is deleted from.
     */
    public function topics(): int
    {
        return count($this->deleted);
    }

    /**
     * How many letters fit and stay all the same.
     */
    public function blocked(): int
    {
        return array_sum(array_map(array_sum(...), $this->blocked));
    }

    /**
     * One line for each topic, and one for each letter that others stay behind.
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
                    . " behind {$this->kept[$topic][$partition]}, which has to stay: Kafka deletes the beginning "
                    . 'of a partition only.';
            }
        }

        return $lines;
    }
}
