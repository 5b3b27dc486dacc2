<?php

declare(strict_types=1);

namespace Toporia\Realtime\Dlq;

use Closure;
use Toporia\Realtime\Exception\RealtimeException;

/**
 * Replays letters to their original topic, for the consumer group that failed. Plans first, then executes the plan. At
 * least once: a letter is marked after Kafka has acknowledged it, so a killed process leaves at most one batch (100
 * letters) that the next replay sends again.
 */
final class Replayer
{
    private const SAMPLE = 20;

    /** @var array<string, int> number of partitions of every topic */
    private array $partitions = [];

    public function __construct(private Cluster $cluster, private Letters $letters)
    {
    }

    /**
     * Determines which letters will be replayed and which cannot be.
     *
     * @param bool $again include letters that were replayed before
     *
     * @throws RealtimeException
     */
    public function plan(Selection $selection, bool $again): ReplayPlan
    {
        $plan = new ReplayPlan(new NewestLetters(self::SAMPLE));
        $withoutValue = [];
        $this->partitions = $this->cluster->topics('**');
        $classify = function (Letter $letter, ?int $replayedAt) use ($plan, $again, &$withoutValue): void {
            $group = $letter->group;
            $topic = $letter->originalTopic;
            if ($replayedAt !== null && !$again) {
                $plan->replayedBefore++;
            } elseif ($group === null) {
                $plan->refused[(string) $letter->letterId()]
                    = 'it has no x-original-group header, so every group would handle it.';
            } elseif (!isset($this->partitions[$topic])) {
                $plan->refused[(string) $letter->letterId()] = "its topic $topic no longer exists.";
            } elseif ($letter->omittedBytes() !== null) {
                $withoutValue[] = [$letter, $group];
            } else {
                $plan->add($letter, $group, false);
            }
        };
        $this->letters->each($selection, $classify);
        foreach ($selection->missing() as $name) {
            $plan->refused[$name] = "no dead letter has this id. To select a topic, use --topic=$name";
        }
        foreach ($withoutValue as [$letter, $group]) {
            if ($this->original($letter) !== null) {
                $plan->add($letter, $group, true);
            } else {
                $plan->refused[(string) $letter->letterId()] = 'it only holds the coordinates of a record that was too '
                    . "large for a dead letter, and the record is no longer in {$letter->originalTopic}.";
            }
        }

        return $plan;
    }

    /**
     * Executes the plan.
     *
     * @param (Closure(int): void)|null $progress receives the number of replayed letters after each batch
     * @param (Closure(): bool)|null $stop called between two letters; true stops after the current batch
     *
     * @throws RealtimeException Kafka cannot be read, or the marker topic cannot be created (then nothing was replayed)
     */
    public function run(ReplayPlan $plan, ?Closure $progress = null, ?Closure $stop = null): ReplayDelivery
    {
        $this->letters->markers()->ensureTopic();
        $delivery = new ReplayDelivery($this->cluster, $this->letters->markers(), $progress);
        $continue = static function () use ($delivery, $stop): bool {
            $delivery->stopped = $delivery->stopped || $stop !== null && $stop();

            return !$delivery->stopped;
        };
        foreach ($plan->positions as $topic => $positions) {
            if ($continue()) {
                $this->runTopic($topic, $positions, $delivery, $continue);
            }
        }
        foreach ($plan->fetched as $letter) {
            if (!$continue()) {
                break;
            }
            $original = $this->original($letter);
            $original === null
                ? $delivery->fail($letter, 'its original record was removed after the plan was made')
                : $delivery->add($letter, $this->partition($letter, $original), $original);
        }
        $delivery->finish();

        return $delivery;
    }

    /**
     * @param array<int, array<int, true>> $positions offsets by partition
     * @param Closure(): bool $continue
     */
    private function runTopic(string $topic, array $positions, ReplayDelivery $delivery, Closure $continue): void
    {
        $remaining = 0;
        $from = [];
        foreach ($this->cluster->offsets($topic) as $partition => ['end' => $end]) {
            $offsets = $positions[$partition] ?? [];
            $remaining += count($offsets);
            $from[$partition] = $offsets === [] ? $end : min(array_keys($offsets));
        }
        $take = function (Letter $letter) use (&$remaining, $positions, $delivery, $continue): bool {
            $record = $letter->record;
            if (isset($positions[$record->partition][$record->offset])) {
                if (!$continue()) {
                    return false;
                }
                $delivery->add($letter, $this->partition($letter, $record), null);
                $remaining--;
            }

            return $remaining > 0;
        };
        if ($remaining > 0) {
            $this->letters->read($topic, $from, $take);
        }
        $delivery->gone += $continue() ? $remaining : 0;
    }

    /**
     * A record without a key goes to its original partition, which the application may have chosen. A record with a key
     * goes where the key belongs now, even after partitions were added.
     */
    private function partition(Letter $letter, Record $record): ?int
    {
        $partition = $letter->originalPartition;
        if ($record->key !== null || $partition === null) {
            return null;
        }

        return $partition < ($this->partitions[$letter->originalTopic] ?? 0) ? $partition : null;
    }

    /**
     * The failed record of a letter without a value: one too large for a dead letter leaves only its coordinates there, and
     * stays in its topic until Kafka's retention removes it. Null if it is gone or another record has its offset.
     *
     * @throws RealtimeException
     */
    private function original(Letter $letter): ?Record
    {
        $topic = $letter->originalTopic;
        $partition = $letter->originalPartition;
        $offset = $letter->originalOffset;
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

    /** Guards against a topic that was deleted and recreated: its offsets start at 0 again. */
    private static function hasSameTimestamp(Record $record, Letter $letter): bool
    {
        $ms = $letter->originalTimestampMs;

        return $ms === null || intdiv($ms, 1000) === $record->timestamp;
    }
}
