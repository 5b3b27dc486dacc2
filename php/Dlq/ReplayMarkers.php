<?php

declare(strict_types=1);

namespace Toporia\Realtime\Dlq;

use Toporia\Realtime\Exception\RealtimeException;

/**
 * Records which letters were replayed, in a compacted topic. Key: the letter id. Value:
 * `{"at":1763700000,"to":"orders","id":"019a…"}`; null once the letter is deleted.
 *
 * The letters themselves cannot be changed in Kafka, and other tools read them too.
 */
final class ReplayMarkers
{
    /** @var array<string, array<int, array<int, int>>> Unix seconds by topic, partition and offset */
    private array $at = [];
    private bool $ready = false;

    private function __construct(private Cluster $cluster, private TopicNames $names)
    {
    }

    /**
     * Loads all markers.
     *
     * @throws RealtimeException
     */
    public static function load(Cluster $cluster, TopicNames $names): self
    {
        $markers = new self($cluster, $names);
        if ($cluster->topics($names->replayed()) !== []) {
            $markers->ready = true;
            $cluster->read($names->replayed(), $markers->apply(...));
        }

        return $markers;
    }

    /**
     * Time of the last replay of a letter, in Unix seconds; null: never.
     *
     * A marker older than the letter belongs to a letter that had the same offset before the topic was recreated.
     */
    public function replayedAt(Letter $letter): ?int
    {
        $record = $letter->record;
        $at = $this->at[$record->topic][$record->partition][$record->offset] ?? null;

        return $at === null || $at < $letter->failedAt ? null : $at;
    }

    /**
     * Creates the marker topic if it is missing. Called before anything is replayed.
     *
     * @throws RealtimeException
     */
    public function ensureTopic(): void
    {
        if (!$this->ready) {
            $this->cluster->createCompacted($this->names->replayed());
            $this->ready = true;
        }
    }

    /**
     * Marks a letter as replayed; persisted by Cluster::flush().
     *
     * @param int $now Unix seconds
     *
     * @return string the record id of the marker, for flush()
     *
     * @throws RealtimeException
     */
    public function markReplayed(Letter $letter, int $now): string
    {
        $record = $letter->record;
        // The consumer's clock may be ahead of ours; see replayedAt().
        $at = max($now, $letter->failedAt);
        $this->at[$record->topic][$record->partition][$record->offset] = $at;
        $value = json_encode(
            ['at' => $at, 'to' => $letter->originalTopic, 'id' => $letter->messageId()],
            JSON_THROW_ON_ERROR | JSON_INVALID_UTF8_SUBSTITUTE
        );

        return $this->cluster->send($this->names->replayed(), $value, (string) $letter->letterId());
    }

    /**
     * Removes the markers of deleted letters: all those of a topic before an offset, by partition.
     *
     * @param array<int, int> $before
     *
     * @return int number of markers removed
     *
     * @throws RealtimeException
     */
    public function remove(string $topic, array $before): int
    {
        $removed = 0;
        foreach ($before as $partition => $end) {
            foreach (array_keys($this->at[$topic][$partition] ?? []) as $offset) {
                if ($offset < $end) {
                    $this->cluster->send($this->names->replayed(), null, "$topic/$partition/$offset");
                    unset($this->at[$topic][$partition][$offset]);
                    $removed++;
                }
            }
        }

        return $removed;
    }

    private function apply(Record $record): void
    {
        $letterId = LetterId::parse($record->key ?? '', $this->names);
        if ($letterId === null) {
            return;
        }
        $mark = $record->value === null ? null : json_decode($record->value, true);
        if (is_array($mark) && is_int($mark['at'] ?? null)) {
            $this->at[$letterId->topic][$letterId->partition][$letterId->offset] = $mark['at'];
        } else {
            unset($this->at[$letterId->topic][$letterId->partition][$letterId->offset]);
        }
    }
}
