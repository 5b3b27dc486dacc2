<?php

/**
 * Sends replays batch by batch, and marks what has arrived.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Dlq;

use Closure;
use Toporia\Realtime\Exception\RealtimeException;

/**
 * The counts of a replay, and what did not arrive.
 */
final class ReplayDelivery
{
    /** Letters, and bytes, sent before their acknowledgements are waited for. */
    private const BATCH = 100;
    private const BATCH_BYTES = 4 << 20;
    /** So many batches in a row of which nothing arrived end the replay. */
    private const MAX_FAILED_BATCHES = 2;

    /** Letters that are in their topics again. */
    public int $replayed = 0;
    /** Letters that were deleted since the plan was made. */
    public int $gone = 0;
    /** True: ended early, by a signal or because nothing arrives or can be remembered any more. */
    public bool $stopped = false;
    /** @var array<string, string> why not, by handle */
    public array $failed = [];
    /** @var array<string, string> why a letter that was replayed is not marked, by handle */
    public array $unmarked = [];
    /** @var array<string, Letter> by what the flush calls them */
    private array $batch = [];
    private int $bytes = 0;
    private int $failedBatches = 0;

    /**
     * @param (Closure(int): void)|null $progress gets the number replayed, after each batch
     */
    public function __construct(private Cluster $cluster, private ReplayMarkers $markers, private ?Closure $progress = null)
    {
    }

    /**
     * Sends a letter's record again.
     *
     * @param Record|null $original the record, where the letter only holds its coordinates
     */
    public function add(Letter $letter, ?int $partition, ?Record $original): void
    {
        $record = $original ?? $letter->record;
        $headers = Headers::forReplay($letter, (string) $letter->group(), $original);
        try {
            $id = $this->cluster->send($letter->originalTopic(), $record->value, $record->key, $headers, $partition);
        } catch (RealtimeException $e) {
            $this->fail($letter, $e->getMessage());

            return;
        }
        // What the batch keeps of a letter is not its payload's copy: PHP shares the string.
        $this->batch[$id] = $letter;
        $this->bytes += $record->bytes();
        if (count($this->batch) >= self::BATCH || $this->bytes >= self::BATCH_BYTES) {
            $this->finish();
        }
    }

    /**
     * Notes a letter that cannot be replayed.
     */
    public function fail(Letter $letter, string $why): void
    {
        $this->failed[(string) $letter->letterId()] = $why;
    }

    /**
     * Waits for what was sent, then marks what arrived.
     */
    public function finish(): void
    {
        if ($this->batch === []) {
            return;
        }
        $failed = $this->cluster->flush();
        $markers = [];
        foreach ($this->batch as $id => $letter) {
            if (isset($failed[$id])) {
                $this->fail($letter, $failed[$id]);
                continue;
            }
            $this->replayed++;
            try {
                $markers[$this->markers->markReplayed($letter, time())] = (string) $letter->letterId();
            } catch (RealtimeException $e) {
                $this->unmarked[(string) $letter->letterId()] = $e->getMessage();
            }
        }
        $unmarked = $markers === [] ? [] : $this->cluster->flush();
        foreach (array_intersect_key($markers, $unmarked) as $id => $letterId) {
            $this->unmarked[$letterId] = $unmarked[$id];
        }
        // Where nothing arrives any more, or nothing can be remembered, the next batches will not do better.
        $this->failedBatches = $failed === [] || $markers !== [] || $this->unmarked !== [] ? 0 : $this->failedBatches + 1;
        $this->stopped = $this->stopped || $this->failedBatches >= self::MAX_FAILED_BATCHES || $this->unmarked !== [];
        $this->batch = [];
        $this->bytes = 0;
        if ($this->progress !== null) {
            ($this->progress)($this->replayed);
        }
    }
}
