<?php

declare(strict_types=1);

namespace Toporia\Realtime\Dlq;

use Toporia\Realtime\Exception\RealtimeException;
use Toporia\Realtime\Worker\Text;

/**
 * The letters that a purge will delete: shown before it is confirmed, and then deleted. Kafka only deletes the beginning
 * of a partition, so a letter that must stay keeps all later ones. Requires DeleteRecords, which the embedded broker
 * lacks.
 */
final class PurgePlan
{
    /** @var array<string, array<int, int>> offset up to which records are deleted, by topic and partition */
    private array $before = [];
    /** @var array<string, int> number of letters to delete, by topic */
    private array $deleted = [];
    /** @var array<string, array<int, LetterId>> first letter to keep, by topic and partition */
    private array $kept = [];
    /** @var array<string, array<int, int>> letters kept only because an earlier one is kept, by topic and partition */
    private array $blocked = [];

    /**
     * @param Selection $selection only `topic` limits what is read; letters that do not match are kept
     * @param bool $replayedOnly keep letters that were not replayed
     *
     * @throws RealtimeException
     */
    public function __construct(
        private Cluster $cluster,
        private Letters $letters,
        Selection $selection,
        bool $replayedOnly
    ) {
        $markers = $letters->markers();
        foreach ($letters->readable($selection) as $topic) {
            $letters->read($topic, [], function (Letter $letter) use ($markers, $selection, $replayedOnly): void {
                $delete = $this->letters->isSelected($selection, $letter)
                    && (!$replayedOnly || $markers->replayedAt($letter) !== null);
                $this->add($letter->letterId(), $delete);
            });
        }
    }

    /**
     * Deletes the letters, and removes their markers.
     *
     * @return string|null reason why markers could not be removed: they take space, but do no harm
     *
     * @throws RealtimeException Kafka rejects the request
     */
    public function run(): ?string
    {
        $removed = 0;
        foreach ($this->before as $topic => $before) {
            $this->cluster->deleteRecords($topic, $before);
            $removed += $this->letters->markers()->remove($topic, $before);
        }
        $failed = $removed === 0 ? [] : $this->cluster->flush();

        return $failed === [] ? null : reset($failed);
    }

    /** Adds the next letter of a partition. */
    private function add(LetterId $letter, bool $delete): void
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

    /** Number of letters to delete. */
    public function count(): int
    {
        return array_sum($this->deleted);
    }

    /** Number of letters that are selected but must stay. */
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
