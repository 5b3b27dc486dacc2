<?php

/**
 * Sends what waits in the shards: takes a few, works on them until they are empty, lets them go.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Outbox;

use Toporia\Realtime\Outbox\Lock\ShardLock;
use Toporia\Realtime\Worker\StopConditions;
use Toporia\Realtime\Worker\Text;

/**
 * A row is marked after Kafka has acknowledged it. So a relay that dies in between leads to the same message once more,
 * with the same id: at least once.
 */
final class ShardWorker
{
    /** How long a relay keeps shards that never run empty before others may have them, in seconds. */
    private const TURN = 5.0;
    /** How long acknowledgements are still waited for once the relay is to stop, in seconds. */
    private const GRACE = 2.0;
    /** How often a lock is looked after while acknowledgements are missing, in seconds. */
    private const RENEW = 1.0;

    /** What Kafka has said and the database does not know yet. */
    private ?RelayResult $unmarked = null;
    private bool $othersAreBusy = false;

    public function __construct(
        private Rows $rows,
        private ShardLock $lock,
        private Sender $sender,
        private RelayOptions $options,
        private StopConditions $stop,
        private RelayReporter $reporter,
        private RelayStats $stats,
        private ConnectionMonitor $kafka,
        private Backoff $backoff
    ) {
    }

    /**
     * Goes once through all shards in which something waits.
     *
     * @return bool whether anything was sent or refused
     *
     * @throws ConnectionLost
     */
    public function round(): bool
    {
        $waiting = $this->rows->shards();
        // Not every relay should want the same one first.
        shuffle($waiting);
        // A quarter at a time: several relays find something to do, and one alone still has full batches.
        $most = max(1, min($this->options->batchSize, intdiv($this->options->shards + 3, 4)));
        $this->othersAreBusy = false;
        $moved = false;
        while ($waiting !== [] && $this->stop->reason() === null) {
            $mine = [];
            while ($waiting !== [] && count($mine) < $most) {
                $shard = array_pop($waiting);
                if ($this->lock->claim($shard)) {
                    $mine[] = $shard;
                } else {
                    $this->othersAreBusy = true;
                }
            }
            $moved = $this->turn($mine) || $moved;
        }

        return $moved;
    }

    /**
     * Whether in the last round another relay held a shard in which something waits.
     */
    public function othersAreBusy(): bool
    {
        return $this->othersAreBusy;
    }

    /**
     * Writes down what became of the last batch. Where a lost connection came between, it is done again, which changes
     * nothing that was done.
     *
     * @throws ConnectionLost
     */
    public function mark(): void
    {
        if ($this->unmarked === null) {
            return;
        }
        $ids = array_map(static fn (Row $row): int => $row->id, $this->unmarked->sent);
        $this->rows->sent($ids, $this->options->retention > 0);
        foreach ($this->unmarked->failed as [$row, $why]) {
            $this->rows->failed($row->id, $why);
        }
        foreach ($this->unmarked->retry as [$row, $why]) {
            $this->rows->retry($row->id, $why, $this->backoff->delay($row->attempts + 1));
        }
        $this->unmarked = null;
    }

    /**
     * @param list<int> $shards ours
     */
    private function turn(array $shards): bool
    {
        $end = $this->stats->seconds() + self::TURN;
        $moved = false;
        try {
            while ($shards !== [] && $this->stop->reason() === null && $this->stats->seconds() < $end) {
                $rows = $this->read($shards);
                $rows = $this->stillOurs($rows, $shards);
                if ($rows === [] || !$this->deliver($rows, $shards)) {
                    break;
                }
                $moved = true;
                $this->reporter->progress($this->stats, $this->rows->backlog(...));
            }
        } finally {
            $this->letGo($shards);
        }

        return $moved;
    }

    /**
     * The next rows of these shards; one in which nothing is left is let go.
     *
     * @param list<int> $shards
     *
     * @return list<Row>
     */
    private function read(array &$shards): array
    {
        $each = max(1, intdiv($this->options->batchSize, count($shards)));
        $rows = [];
        $empty = [];
        foreach ($shards as $shard) {
            $found = $this->rows->next($shard, $each);
            array_push($rows, ...$found);
            if ($found === []) {
                $empty[] = $shard;
            }
        }
        $shards = array_values(array_diff($shards, $empty));
        $this->letGo($empty);

        return $rows;
    }

    /**
     * Asked after reading and right before sending: whose shard was lost in between is left to its new holder.
     *
     * @param list<Row> $rows
     * @param list<int> $shards
     *
     * @return list<Row>
     */
    private function stillOurs(array $rows, array &$shards): array
    {
        $held = $this->lock->held($shards);
        $lost = array_values(array_diff($shards, $held));
        if ($lost === []) {
            return $rows;
        }
        $shards = $held;
        $this->reporter->event('lock_lost', 'shard ' . implode(', ', $lost) . ' is no longer ours; what was read from it '
            . 'is left to another relay', ['shards' => $lost]);

        return array_values(array_filter($rows, static fn (Row $row): bool => in_array($row->shard, $held, true)));
    }

    /**
     * @param non-empty-list<Row> $rows
     * @param list<int> $shards
     */
    private function deliver(array $rows, array $shards): bool
    {
        $stopping = null;
        $renewed = 0.0;
        $outcome = $this->sender->send($rows, function (float $waited) use (&$stopping, &$renewed, $shards): bool {
            $this->kafka->waiting($waited);
            if ($waited - $renewed >= self::RENEW) {
                $renewed = $waited;
                $this->keep($shards);
            }
            if ($this->stop->reason() !== null) {
                $stopping ??= $waited;
            }

            return $stopping === null || $waited - $stopping < self::GRACE;
        });
        if ($outcome->unknown === 0) {
            $this->kafka->answered();
        }
        $this->unmarked = $outcome;
        $this->count($outcome);
        $this->mark();

        return $outcome->sent !== [] || $outcome->retry !== [] || $outcome->failed !== [];
    }

    /**
     * Keeps shards ours while Kafka is waited for. A lost one changes nothing now: what is on its way cannot be called
     * back, and its acknowledgement is a fact whoever holds the shard.
     *
     * @param list<int> $shards
     */
    private function keep(array $shards): void
    {
        try {
            $this->lock->held($shards);
            $this->reporter->progress($this->stats, $this->rows->backlog(...));
        } catch (OutboxException $e) {
            $this->stats->lastError = $e->getMessage();
        }
    }

    /**
     * @param list<int> $shards
     */
    private function letGo(array $shards): void
    {
        try {
            foreach ($shards as $shard) {
                $this->lock->release($shard);
            }
        } catch (OutboxException) {
            // An advisory lock ended with its connection, a lease runs out.
        }
    }

    private function count(RelayResult $outcome): void
    {
        $this->stats->sent += count($outcome->sent);
        $this->stats->retries += count($outcome->retry);
        $this->stats->failed += count($outcome->failed);
        $this->stats->unknown += $outcome->unknown;
        $told = [
            ['refused', $outcome->retry, 'refused for now, tried again later'],
            ['failed', $outcome->failed, 'can never be sent'],
        ];
        foreach ($told as [$type, $rows, $what]) {
            if ($rows === []) {
                continue;
            }
            // One line for a batch: where a topic is missing, there are many of them.
            [$row, $why] = $rows[0];
            $more = count($rows) > 1 ? ' and ' . Text::count(count($rows) - 1, 'other') : '';
            $this->stats->lastError = $why;
            $this->reporter->event($type, "row $row->id, message $row->messageId$more: $what: $why", [
                'rows' => array_map(static fn (array $each): int => $each[0]->id, $rows),
                'error' => $why,
            ]);
        }
    }
}
