<?php

/**
 * Deletes letters for good.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Dlq;

use Toporia\Realtime\Exception\RealtimeException;

/**
 * First a plan, then what is in it. Needs Kafka's DeleteRecords, which the embedded broker does not have.
 */
final class Purger
{
    public function __construct(private Cluster $cluster, private Letters $letters)
    {
    }

    /**
     * Finds out what would be deleted.
     *
     * @param Selection $selection only `topic` narrows what is read; a letter that does not fit the rest stays
     * @param bool $replayedOnly letters that were not replayed stay
     *
     * @throws RealtimeException
     */
    public function plan(Selection $selection, bool $replayedOnly): PurgePlan
    {
        $plan = new PurgePlan();
        $markers = $this->letters->markers();
        foreach ($selection->topics($this->letters->topics()) as $topic) {
            $this->letters->read($topic, [], static function (Letter $letter) use (
                $plan,
                $markers,
                $selection,
                $replayedOnly
            ): void {
                $delete = $selection->matches($letter) && (!$replayedOnly || $markers->replayedAt($letter) !== null);
                $plan->add($letter->letterId(), $delete);
            });
        }

        return $plan;
    }

    /**
     * Deletes what the plan says, and forgets what was remembered about it.
     *
     * @return string|null why the marks of deleted letters could not be removed: they take room and do no harm
     *
     * @throws RealtimeException Kafka refuses
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
