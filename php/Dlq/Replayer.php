<?php

/**
 * Replays letters: to the topic they come from, for the group that failed.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Dlq;

use Closure;
use Toporia\Realtime\Exception\RealtimeException;

/**
 * First a plan, then what is in it. At least once: a letter is marked as replayed after Kafka has acknowledged it, so a
 * process that is killed in between leaves at most one batch (100 letters) that a second replay sends again.
 */
final class Replayer
{
    private const SAMPLE = 20;

    private OriginalRecords $originals;
    /** @var array<string, int> partitions of every topic there is */
    private array $partitions = [];

    public function __construct(private Cluster $cluster, private Letters $letters)
    {
        $this->originals = new OriginalRecords($cluster);
    }

    /**
     * Finds out what would be replayed, and what cannot be.
     *
     * @param bool $again also what was replayed before
     *
     * @throws RealtimeException
     */
    public function plan(Selection $selection, bool $again): ReplayPlan
    {
        $plan = new ReplayPlan(new NewestLetters(self::SAMPLE));
        $withoutValue = [];
        $this->partitions = $this->cluster->topics('**');
        $classify = function (Letter $letter, ?int $replayedAt) use ($plan, $again, &$withoutValue): void {
            $group = $letter->group();
            $topic = $letter->originalTopic();
            if ($replayedAt !== null && !$again) {
                $plan->replayedBefore++;
            } elseif ($group === null) {
                $plan->refused[(string) $letter->letterId()]
                    = 'it has no x-original-group header, so every group would take it. Who put it there?';
            } elseif (!isset($this->partitions[$topic])) {
                $plan->refused[(string) $letter->letterId()] = "its topic $topic does not exist any more.";
            } elseif ($letter->omittedBytes() !== null) {
                $withoutValue[] = [$letter, $group];
            } else {
                $plan->add($letter, $group, false);
            }
        };
        $this->letters->each($selection, $classify);
        foreach ($selection->missing() as $name) {
            $plan->refused[$name] = "no dead letter has this place or id. A topic is chosen with --topic=$name";
        }
        foreach ($withoutValue as [$letter, $group]) {
            if ($this->originals->find($letter) !== null) {
                $plan->add($letter, $group, true);
            } else {
                $plan->refused[(string) $letter->letterId()] = 'it holds only the coordinates of a record that was too '
                    . "large for a letter, and the record is no longer in {$letter->originalTopic()}.";
            }
        }

        return $plan;
    }

    /**
     * Does what the plan says.
     *
     * @param (Closure(int): void)|null $progress gets the number of letters done after each batch
     * @param (Closure(): bool)|null $stop asked between two letters: true ends it after the batch in hand
     *
     * @throws RealtimeException Kafka cannot be read, or nothing can be remembered (then nothing was replayed)
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
            $original = $this->originals->find($letter);
            $original === null
                ? $delivery->fail($letter, 'its original is gone since the plan was made')
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
     * Where a record without a key goes: its original partition, which somebody may have chosen. One with a key goes
     * where its key belongs, also after partitions were added.
     */
    private function partition(Letter $letter, Record $record): ?int
    {
        $partition = $letter->originalPartition();
        if ($record->key !== null || $partition === null) {
            return null;
        }

        return $partition < ($this->partitions[$letter->originalTopic()] ?? 0) ? $partition : null;
    }
}
