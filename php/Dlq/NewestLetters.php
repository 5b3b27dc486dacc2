<?php

/**
 * The newest of many letters, without keeping the others.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Dlq;

use SplMinHeap;

/**
 * Keeps what is to be shown of a letter, as Letter::toArray() has it.
 */
final class NewestLetters
{
    /** @var SplMinHeap<array{int, int, array<string, mixed>}> time, place in the order read, letter */
    private SplMinHeap $heap;
    private int $count = 0;

    /**
     * @param int $limit most letters kept; 0: all
     */
    public function __construct(private int $limit)
    {
        $this->heap = new SplMinHeap();
    }

    /**
     * @param array<string, mixed> $letter
     */
    public function add(int $failedAt, array $letter): void
    {
        $this->heap->insert([$failedAt, $this->count++, $letter]);
        if ($this->limit > 0 && $this->heap->count() > $this->limit) {
            $this->heap->extract();
        }
    }

    /**
     * How many were added.
     */
    public function count(): int
    {
        return $this->count;
    }

    /**
     * Those that are kept, the newest first. Afterwards none are.
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
