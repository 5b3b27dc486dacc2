<?php

declare(strict_types=1);

namespace Toporia\Realtime\Dlq;

use Toporia\Realtime\Exception\RealtimeException;

/**
 * Deletes letters permanently. Plans first, then executes the plan. Requires DeleteRecords, which the embedded broker
 * lacks.
 */
final class Purger
{
    public function __construct(private Cluster $cluster, private Letters $letters)
    {
    }

    /**
     * Determines the letters to delete.
     *
     * @param Selection $selection only `topic` limits what is read; letters that do not match are kept
     * @param bool $replayedOnly keep letters that were not replayed
     *
     * @throws RealtimeException
     */
    public function plan(Selection $selection, bool $replayedOnly): PurgePlan
    {
        $plan = new PurgePlan();
        $markers = $this->letters->markers();
        foreach ($this->letters->readable($selection) as $topic) {
            $this->letters->read($topic, [], function (Letter $letter) use (
                $plan,
                $markers,
                $selection,
                $replayedOnly
            ): void {
                $delete = $this->letters->isSelected($selection, $letter)
                    && (!$replayedOnly || $markers->replayedAt($letter) !== null);
                $plan->add($letter->letterId(), $delete);
            });
        }

        return $plan;
    }

    /**
     * Executes the plan, and removes the markers of deleted letters.
     *
     * @return string|null reason why markers could not be removed: they take space, but do no harm
     *
     * @throws RealtimeException Kafka rejects the request
     */
    public function run(PurgePlan $plan): ?string
    {
        $removed = 0;
        foreach ($plan->before as $topic => $before) {
            $this->cluster->deleteRecords($topic, $before);
            $removed += $this->letters->markers()->remove($topic, $before);
        }
        $failed = $removed === 0 ? [] : $this->cluster->flush();

        return $failed === [] ? null : reset($failed);
    }
}
