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
    private const MAX_HOLD_SECONDS = 5.0;
    /** How long acknowledgements are still waited for once the relay is to stop, in seconds. */
    private const STOP_GRACE_SECONDS = 2.0;
    /** How often a lock is looked after while acknowledgements are missing, in seconds. */
    private const RENEW_SECONDS = 1.0;

    /** What Kafka has said and the database does not know yet. */
    private ?RelayResult $pendingResult = null;
    private bool $hasContention = false;

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
    public function processShards(): bool
    {
        $waiting = $this->rows->shards();
        // Not every relay should want the same one first.
        shuffle($waiting);
        // A quarter at a time: several relays find something to do, and one alone still has full batches.
        $most = max(1, min($this->options->batchSize, intdiv($this->options->shards + 3, 4)));
        $this->hasContention = false;
        $progressed = false;
        while ($waiting !== [] && $this->stop->reason() === null) {
            $claimed = [];
            while ($waiting !== [] && count($claimed) < $most) {
                $shard = array_pop($waiting);
                if ($this->lock->claim($shard)) {
                    $claimed[] = $shard;
                } else {
                    $this->hasContention = true;
                }
            }
            $progressed = $this->drainShards($claimed) || $progressed;
        }

        return $progressed;
    }

    /**
     * True if in the last round another relay held a shard in which something waits.
     */
    public function hasContention(): bool
    {
        return $this->hasContention;
    }

    /**
     * Writes down what became of the last batch. Where a lost connection came between, it is done again, which changes
     * nothing that was done.
     *
     * @throws ConnectionLost
     */
    public function recordResult(): void
    {
        if ($this->pendingResult === null) {
            return;
        }
        $ids = array_map(static fn (Row $row): int => $row->id, $this->pendingResult->sent);
        $this->rows->sent($ids, $this->options->retention > 0);
        foreach ($this->pendingResult->failed as [$row, $why]) {
            $this->rows->failed($row->id, $why);
        }
        foreach ($this->pendingResult->retry as [$row, $why]) {
            $this->rows->retry($row->id, $why, $this->backoff->delay($row->attempts + 1));
        }
        $this->pendingResult = null;
    }

    /**
     * @param list<int> $shards ours
     */
    private function drainShards(array $shards): bool
    {
        $end = $this->stats->seconds() + self::MAX_HOLD_SECONDS;
        $progressed = false;
        try {
            while ($shards !== [] && $this->stop->reason() === null && $this->stats->seconds() < $end) {
                $rows = $this->read($shards);
                $rows = $this->keepOwned($rows, $shards);
                if ($rows === [] || !$this->deliver($rows, $shards)) {
                    break;
                }
                $progressed = true;
                $this->reporter->progress($this->stats, $this->rows->backlog(...));
            }
        } finally {
            $this->releaseShards($shards);
        }

        return $progressed;
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
        $this->releaseShards($empty);

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
    private function keepOwned(array $rows, array &$shards): array
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
        $result = $this->sender->send($rows, function (float $waited) use (&$stopping, &$renewed, $shards): bool {
            $this->kafka->waiting($waited);
            if ($waited - $renewed >= self::RENEW_SECONDS) {
                $renewed = $waited;
                $this->renewLocks($shards);
            }
            if ($this->stop->reason() !== null) {
                $stopping ??= $waited;
            }

            return $stopping === null || $waited - $stopping < self::STOP_GRACE_SECONDS;
        });
        if ($result->unknown === 0) {
            $this->kafka->answered();
        }
        $this->pendingResult = $result;
        $this->count($result);
        $this->recordResult();

        return $result->sent !== [] || $result->retry !== [] || $result->failed !== [];
    }

    /**
     * Keeps shards ours while Kafka is waited for. A lost one changes nothing now: what is on its way cannot be called
     * back, and its acknowledgement is a fact whoever holds the shard.
     *
     * @param list<int> $shards
     */
    private function renewLocks(array $shards): void
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
    private function releaseShards(array $shards): void
    {
        try {
            foreach ($shards as $shard) {
                $this->lock->release($shard);
            }
        } catch (OutboxException) {
            // An advisory lock ended with its connection, a lease runs out.
        }
    }

    private function count(RelayResult $result): void
    {
        $this->stats->sent += count($result->sent);
        $this->stats->retries += count($result->retry);
        $this->stats->failed += count($result->failed);
        $this->stats->unknown += $result->unknown;
        $events = [
            ['refused', $result->retry, 'refused for now, tried again later'],
            ['failed', $result->failed, 'can never be sent'],
        ];
        foreach ($events as [$type, $rows, $what]) {
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
