<?php

/**
 * Remembers which letters were replayed, in a compacted topic beside the dead letters.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Dlq;

use Toporia\Realtime\Exception\RealtimeException;

/**
 * Key: the letter's handle. Value: `{"at":1763700000,"to":"orders","id":"019a…"}`, null once the letter is gone.
 *
 * The letters themselves stay as they are: nothing in Kafka can be changed, and other tools read them too.
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
     * Reads what is remembered.
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
     * When a letter was replayed last, in Unix seconds; null: never.
     *
     * A mark older than the letter is one of another letter, which had the same place before the topic was deleted.
     */
    public function replayedAt(Letter $letter): ?int
    {
        $record = $letter->record;
        $at = $this->at[$record->topic][$record->partition][$record->offset] ?? null;

        return $at === null || $at < $letter->failedAt() ? null : $at;
    }

    /**
     * Makes sure that there is a topic to remember in. Called before anything is replayed.
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
     * Remembers that a letter was replayed; Cluster::flush() makes it last.
     *
     * @param int $now Unix seconds
     *
     * @return string the id of the mark for flush()
     *
     * @throws RealtimeException
     */
    public function markReplayed(Letter $letter, int $now): string
    {
        $record = $letter->record;
        // A consumer's clock may be ahead of ours; see replayedAt().
        $at = max($now, $letter->failedAt());
        $this->at[$record->topic][$record->partition][$record->offset] = $at;
        $value = json_encode(
            ['at' => $at, 'to' => $letter->originalTopic(), 'id' => $letter->messageId()],
            JSON_THROW_ON_ERROR | JSON_INVALID_UTF8_SUBSTITUTE
        );

        return $this->cluster->send($this->names->replayed(), $value, (string) $letter->letterId());
    }

    /**
     * Forgets the marks of letters that are gone: all those of a topic before an offset, by partition.
     *
     * @param array<int, int> $before
     *
     * @return int how many
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
