<?php

declare(strict_types=1);

namespace Toporia\Realtime\Dlq;

use SplMinHeap;

/** Collects the newest letters up to a limit. Only keeps the fields to show, as returned by Letter::toArray(). */
final class NewestLetters
{
    /** @var SplMinHeap<array{int, int, array<string, mixed>}> time, sequence number, letter */
    private SplMinHeap $heap;
    private int $count = 0;

    /** @param int $limit maximum number of letters kept; 0: no limit */
    public function __construct(private int $limit)
    {
        $this->heap = new SplMinHeap();
    }

    /** @param array<string, mixed> $letter */
    public function add(int $failedAt, array $letter): void
    {
        $this->heap->insert([$failedAt, $this->count++, $letter]);
        if ($this->limit > 0 && $this->heap->count() > $this->limit) {
            $this->heap->extract();
        }
    }

    /** Number of letters added. */
    public function count(): int
    {
        return $this->count;
    }

    /**
     * Returns the kept letters, newest first, and empties the collection.
     *
     * @return list<array<string, mixed>>
     */
    public function take(): array
    {
        $letters = [];
        while (!$this->heap->isEmpty()) {
            $letters[] = $this->heap->extract()[2];
        }

        return array_reverse($letters);
    }
}
