<?php

declare(strict_types=1);

namespace Toporia\Realtime\Outbox;

use Closure;
use Toporia\Realtime\Outbox\Lock\ShardLock;
use Toporia\Realtime\Worker\StopConditions;
use Toporia\Realtime\Worker\Text;

/**
 * Sends the waiting rows: locks some shards, sends their rows until they are empty, releases them. Rows are marked
 * after Kafka has acknowledged them, so a relay that crashes in between causes a duplicate with the same id: at least
 * once.
 */
final class ShardWorker
{
    /** Maximum time to hold busy shards before other relays may take them, in seconds. */
    private const MAX_HOLD_SECONDS = 5.0;
    /** Maximum time to wait for acknowledgements when stopping, in seconds. */
    private const STOP_GRACE_SECONDS = 2.0;
    /** Interval for renewing locks while acknowledgements are missing, in seconds. */
    private const RENEW_SECONDS = 1.0;
    /** Seconds before a missing connection is reported: connecting takes a moment. */
    private const GRACE_SECONDS = 2.0;
    /** Delay before a rejected row is retried: at first, and at most, in ms. */
    private const FIRST_RETRY_MS = 500;
    private const MAX_RETRY_MS = 60_000;

    /** Results from Kafka that are not recorded in the database yet. */
    private ?RelayResult $pendingResult = null;
    private bool $hasContention = false;
    private bool $down = false;

    /** @param Closure(): ?string $lastError returns Kafka's last error */
    public function __construct(
        private Rows $rows,
        private ShardLock $lock,
        private Sender $sender,
        private RelayOptions $options,
        private StopConditions $stop,
        private RelayReporter $reporter,
        private RelayStats $stats,
        private Closure $lastError
    ) {
    }

    /**
     * Processes all shards with waiting rows once.
     *
     * @return bool true if anything was sent or rejected
     *
     * @throws ConnectionLost
     */
    public function processShards(): bool
    {
        $waiting = $this->rows->shards();
        // Relays should not all start with the same shard.
        shuffle($waiting);
        // A quarter at a time: several relays find work, and a single one still has full batches.
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

    /** True if another relay held a shard with waiting rows in the last round. */
    public function hasContention(): bool
    {
        return $this->hasContention;
    }

    /**
     * Records the result of the last batch. Repeated after a lost connection; recording twice has no effect.
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
            $this->rows->retry($row->id, $why, self::retryDelay($row->attempts + 1));
        }
        $this->pendingResult = null;
    }

    /**
     * Doubles with every attempt, with 20 % jitter to spread the retries.
     *
     * @param int $attempts number of failed attempts, at least 1
     *
     * @return int delay in ms
     */
    public static function retryDelay(int $attempts): int
    {
        $delay = min(self::MAX_RETRY_MS, self::FIRST_RETRY_MS * 2 ** min(20, max(0, $attempts - 1)));

        return (int) ($delay * random_int(800, 1200) / 1000);
    }

    /** @param list<int> $shards ours */
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
     * Reads the next rows of these shards; releases empty ones.
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
     * Checked after reading and right before sending: rows of a lost shard are left to its new owner.
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
        $this->reporter->event('lock_lost', 'shard ' . implode(', ', $lost) . ' is locked by another relay now; the '
            . 'rows read from it are left to that relay', ['shards' => $lost]);

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
            $this->reportWaiting($waited);
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
            $this->reportConnected();
        }
        $this->pendingResult = $result;
        $this->count($result);
        $this->recordResult();

        return $result->sent !== [] || $result->retry !== [] || $result->failed !== [];
    }

    /** Reports once when Kafka stops responding: acknowledgements have been missing for this many seconds. */
    private function reportWaiting(float $seconds): void
    {
        if ($this->down || $seconds < self::GRACE_SECONDS) {
            return;
        }
        $this->down = true;
        $why = ($this->lastError)() ?? 'no response yet';
        $this->stats->lastError = $why;
        $this->reporter->event('disconnected', "waiting for Kafka: $why. The rows stay in "
            . "the outbox", ['error' => $why]);
    }

    /** Acknowledgements have arrived again. */
    private function reportConnected(): void
    {
        if ($this->down) {
            $this->down = false;
            $this->stats->lastError = null;
            $this->reporter->event('connected', 'Kafka responds again');
        }
    }

    /**
     * Renews the locks while waiting for Kafka. Losing one has no effect on rows already sent: their acknowledgements
     * count regardless of the owner.
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

    /** @param list<int> $shards */
    private function releaseShards(array $shards): void
    {
        try {
            foreach ($shards as $shard) {
                $this->lock->release($shard);
            }
        } catch (OutboxException) {
            // An advisory lock ends with its connection, and a lease expires.
        }
    }

    private function count(RelayResult $result): void
    {
        $this->stats->sent += count($result->sent);
        $this->stats->retries += count($result->retry);
        $this->stats->failed += count($result->failed);
        $this->stats->unknown += $result->unknown;
        $events = [
            ['refused', $result->retry, 'rejected temporarily, retried later'],
            ['failed', $result->failed, 'can never be sent'],
        ];
        foreach ($events as [$type, $rows, $what]) {
            if ($rows === []) {
                continue;
            }
            // One line per batch: if a topic is missing, many rows fail for the same reason.
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
