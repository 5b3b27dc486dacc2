<?php

/**
 * Finds the record that failed, for letters that hold no value.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Dlq;

use Toporia\Realtime\Exception\RealtimeException;

/**
 * A record too large for a letter leaves only its coordinates there; the record itself is in its topic until Kafka's
 * retention takes it.
 */
final class OriginalRecords
{
    public function __construct(private Cluster $cluster)
    {
    }

    /**
     * The original record; null where it is gone, or where another one has its place.
     *
     * @throws RealtimeException
     */
    public function find(Letter $letter): ?Record
    {
        $topic = $letter->originalTopic();
        $partition = $letter->originalPartition();
        $offset = $letter->originalOffset();
        if ($partition === null || $offset === null || $this->cluster->topics($topic) === []) {
            return null;
        }
        $offsets = $this->cluster->offsets($topic);
        ['beginning' => $beginning, 'end' => $end] = $offsets[$partition] ?? ['beginning' => 0, 'end' => 0];
        if ($offset < $beginning || $offset >= $end) {
            return null;
        }
        // The other partitions from their end: nothing of them is read.
        $from = [$partition => $offset] + array_map(static fn (array $of): int => $of['end'], $offsets);
        $found = null;
        $this->cluster->read($topic, static function (Record $record) use ($partition, &$found) {
            // Another partition may have got a record since.
            if ($record->partition === $partition) {
                $found = $record;
            }

            return $found === null ? null : false;
        }, $from);

        return $found !== null && $found->offset === $offset && self::hasSameTimestamp($found, $letter) ? $found : null;
    }

    /**
     * A topic that was deleted and made again counts its offsets from 0 again.
     */
    private static function hasSameTimestamp(Record $record, Letter $letter): bool
    {
        $ms = $letter->originalTimestampMs();

        return $ms === null || intdiv($ms, 1000) === $record->timestamp;
    }
}
