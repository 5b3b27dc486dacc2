<?php

declare(strict_types=1);

namespace Toporia\Realtime\Dlq;

use Toporia\Realtime\Exception\RealtimeException;

/**
 * Looks up the failed record of letters without a value. A record too large for a dead letter leaves only its
 * coordinates there; the record stays in its topic until Kafka's retention removes it.
 */
final class OriginalRecords
{
    public function __construct(private Cluster $cluster)
    {
    }

    /**
     * The original record; null if it is gone or another record has its offset.
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
        // Start the other partitions at their end, so that nothing is read from them.
        $from = [$partition => $offset] + array_map(static fn (array $span): int => $span['end'], $offsets);
        $found = null;
        $this->cluster->read($topic, static function (Record $record) use ($partition, &$found) {
            // Another partition may have received a record since.
            if ($record->partition === $partition) {
                $found = $record;
            }

            return $found === null ? null : false;
        }, $from);

        return $found !== null && $found->offset === $offset && self::hasSameTimestamp($found, $letter) ? $found : null;
    }

    /**
     * Guards against a topic that was deleted and recreated: its offsets start at 0 again.
     */
    private static function hasSameTimestamp(Record $record, Letter $letter): bool
    {
        $ms = $letter->originalTimestampMs();

        return $ms === null || intdiv($ms, 1000) === $record->timestamp;
    }
}
