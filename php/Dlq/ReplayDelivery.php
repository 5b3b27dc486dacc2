<?php

declare(strict_types=1);

namespace Toporia\Realtime\Dlq;

use Closure;
use Toporia\Realtime\Exception\RealtimeException;

/** Sends replays in batches and marks the delivered ones. Also holds the result of a replay. */
final class ReplayDelivery
{
    /** Letters, and bytes, per batch. */
    private const BATCH = 100;
    private const BATCH_BYTES = 4 << 20;
    /** Number of consecutive batches without any delivery after which the replay stops. */
    private const MAX_FAILED_BATCHES = 2;

    /** Letters delivered to their topics. */
    public int $replayed = 0;
    /** Letters deleted since the plan was made. */
    public int $gone = 0;
    /** True if the replay stopped early: by a signal, or because deliveries or markers fail. */
    public bool $stopped = false;
    /** @var array<string, string> reason by letter id, for letters that were not delivered */
    public array $failed = [];
    /** @var array<string, string> reason by letter id, for replayed letters that could not be marked */
    public array $unmarked = [];
    /** @var array<string, Letter> by the record ids of the cluster */
    private array $batch = [];
    private int $bytes = 0;
    private int $failedBatches = 0;

    /** @param (Closure(int): void)|null $progress receives the number of replayed letters after each batch */
    public function __construct(private Cluster $cluster, private ReplayMarkers $markers, private ?Closure $progress = null)
    {
    }

    /**
     * Sends the record of a letter again.
     *
     * @param Record|null $original the original record, if the letter only holds its coordinates
     */
    public function add(Letter $letter, ?int $partition, ?Record $original): void
    {
        $record = $original ?? $letter->record;
        $headers = Headers::forReplay($letter, (string) $letter->group, $original);
        try {
            $id = $this->cluster->send($letter->originalTopic, $record->value, $record->key, $headers, $partition);
        } catch (RealtimeException $e) {
            $this->fail($letter, $e->getMessage());

            return;
        }
        // Keeping the letter does not copy its payload: PHP shares the string.
        $this->batch[$id] = $letter;
        $this->bytes += $record->bytes();
        if (count($this->batch) >= self::BATCH || $this->bytes >= self::BATCH_BYTES) {
            $this->finish();
        }
    }

    /** Records a letter that cannot be replayed. */
    public function fail(Letter $letter, string $why): void
    {
        $this->failed[(string) $letter->letterId()] = $why;
    }

    /** Waits for the acknowledgements of the batch, then marks the delivered letters. */
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
        // If nothing is delivered any more, or markers cannot be written, further batches would fail too.
        $this->failedBatches = $failed === [] || $markers !== [] || $this->unmarked !== [] ? 0 : $this->failedBatches + 1;
        $this->stopped = $this->stopped || $this->failedBatches >= self::MAX_FAILED_BATCHES || $this->unmarked !== [];
        $this->batch = [];
        $this->bytes = 0;
        if ($this->progress !== null) {
            ($this->progress)($this->replayed);
        }
    }
}
