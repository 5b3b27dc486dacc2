<?php

declare(strict_types=1);

namespace Toporia\Realtime\Idempotency;

use Closure;
use Toporia\Realtime\Exception\ConfigurationException;

/**
 * Keeps keys in memory: for tests, and for duplicates that reach the same worker shortly after each other. Not shared
 * between workers, and lost on restart.
 *
 *     $broker->subscribe('order.*', (new Idempotency(new MemoryStore(), 'orders'))->wrap($callback));
 */
final class MemoryStore extends ClaimingStore
{
    /** @var array<string, int> expiry time by handled key, oldest first */
    private array $done = [];
    /** @var array<string, string> tokens of claimed keys */
    private array $claimed = [];

    /**
     * @param int $ttl seconds to remember a handled key
     * @param int $limit maximum number of keys; the oldest are dropped first (100,000 take about 15 MB)
     * @param (Closure(): int)|null $clock returns the current Unix time, for tests; null: time()
     *
     * @throws ConfigurationException a number out of range
     */
    public function __construct(int $ttl = 604800, private int $limit = 100_000, private ?Closure $clock = null)
    {
        // A single process runs one effect at a time: the claim can only be held further up in this call stack.
        parent::__construct($ttl, PHP_INT_MAX, 0);
        if ($limit < 1) {
            throw new ConfigurationException(self::class . ": limit ($limit) is from 1.");
        }
    }

    /** Number of handled keys in memory. */
    public function count(): int
    {
        return count($this->done);
    }

    protected function claim(string $key, string $token, string $record): Claim
    {
        if (($this->done[$key] ?? 0) > $this->now()) {
            return Claim::Done;
        }
        if (isset($this->claimed[$key])) {
            return Claim::Busy;
        }
        $this->claimed[$key] = $token;

        return Claim::Granted;
    }

    protected function confirm(string $key): void
    {
        unset($this->claimed[$key], $this->done[$key]);
        $this->done[$key] = $this->now() + $this->ttl;
        while (count($this->done) > $this->limit) {
            unset($this->done[array_key_first($this->done)]);
        }
    }

    protected function release(string $key, string $token): void
    {
        if (($this->claimed[$key] ?? null) === $token) {
            unset($this->claimed[$key]);
        }
    }

    private function now(): int
    {
        return $this->clock === null ? time() : ($this->clock)();
    }
}
